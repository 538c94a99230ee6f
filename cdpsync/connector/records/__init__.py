"""JSON records as rows: parsed strictly, collected in files, typed by their values.

It needs msgspec, which the extras of the connectors that use it install.
"""

from cdpsync.connector.records.columns import TIME
from cdpsync.connector.records.parse import Fields, decode_json, parse_record, parse_records
from cdpsync.connector.records.records import Records
from cdpsync.connector.sql_chunk import SqlChunk

__all__ = [
    "TIME",
    "Fields",
    "Records",
    "SqlChunk",
    "decode_json",
    "parse_record",
    "parse_records",
]
