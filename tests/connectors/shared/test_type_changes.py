"""Changes of a declared type: which of them keep every value of the rows that exist."""

from __future__ import annotations

import pytest

from cdpsync_connectors.mysql.type_changes import keeps_values as mysql
from cdpsync_connectors.postgres.type_changes import keeps_values as postgres
from cdpsync_connectors.snowflake.type_changes import keeps_values as snowflake

POSTGRES = [
    ("integer", "bigint", "INTEGER", True),
    ("bigint", "integer", "BIGINT", True),
    ("integer", "numeric(12,2)", "INTEGER", True),
    ("integer", "numeric(12,2)", "VARCHAR", False),
    ("numeric(10,2)", "numeric", "DECIMAL(10,2)", True),
    ("numeric", "numeric(9,2)", "DECIMAL(38,4)", False),
    ("numeric(3,-2)", "numeric(5,0)", "DECIMAL(5,0)", True),
    ("integer", "real", "INTEGER", False),
    ("character varying(9)", "text", "VARCHAR", True),
    ("text", "character varying", "VARCHAR", True),
    ("character varying(9)", "character varying(8)", "VARCHAR", False),
    ("text", "public.citext", "VARCHAR", True),
    ("character(9)", "text", "VARCHAR", False),
    ("time(3) without time zone", "time without time zone", "TIME", True),
    ("timestamp(3) without time zone[]", "timestamp without time zone[]", "TIMESTAMP[]", True),
    ("integer[]", "integer", "INTEGER[]", False),
    ("mood", "mood2", "VARCHAR", False),
    ("mood", "mood enum('a')", "VARCHAR", True),  # as an earlier version saved it
    ("mood enum('a', 'b')", "feeling enum('a', 'b')", "VARCHAR", True),
    ("mood enum('a', 'b')", "mood enum('c', 'a', 'it''s', 'b')", "VARCHAR", True),
    ("mood enum('a', 'b')", "mood enum('a', 'c')", "VARCHAR", False),
    ("mood enum('a', 'b')", "mood enum('b', 'a')", "VARCHAR", False),
    ("mood[] enum('a')", "feeling[] enum('a')", "VARCHAR[]", True),
    ("mood[] enum('a')", "mood enum('a')", "VARCHAR[]", False),
    ("mood enum('a')", "text", "VARCHAR", False),
    ("price", "price domain numeric(10,2)", "DECIMAL(10,2)", True),
    ("price domain numeric(10,2)", "cost domain numeric(10,2)", "DECIMAL(10,2)", True),
    ("numeric(10,2)", "cost domain numeric(12,2)", "DECIMAL(10,2)", True),
    ("price domain numeric(10,2)", "cost domain numeric(10,1)", "DECIMAL(10,2)", False),
    ("a domain mood enum('x')", "b domain mood enum('x', 'y')", "VARCHAR", True),
    ("a domain mood enum('x')", "mood enum('y')", "VARCHAR", False),
    ('"a domain int"', '"a domain int" domain integer', "INTEGER", True),
    ('"a domain int" domain integer', "smallint", "INTEGER", True),
    ("real", "double precision", "VARCHAR", False),
    ("bit(3)", "bit varying(4)", "VARCHAR", True),
]
MYSQL = [
    ("int(11)", "int(10) unsigned", "INTEGER", False),
    ("int(11)", "bigint(20)", "INTEGER", True),
    ("int(10) unsigned zerofill", "bigint(20)", "UINTEGER", True),
    ("tinyint(1)", "tinyint(4)", "TINYINT", True),
    ("bigint(20)", "int(11)", "BIGINT", False),
    ("tinyint(3) unsigned", "decimal(3,0)", "UTINYINT", True),
    ("decimal(10,2)", "decimal(12,4)", "DECIMAL(10,2)", True),
    ("decimal(10,2)", "decimal(10,4)", "DECIMAL(10,2)", False),
    ("varchar(20)", "text", "VARCHAR", True),
    ("varchar(64)", "tinytext", "VARCHAR", False),
    ("char(4)", "varchar(4)", "VARCHAR", True),
    ("varchar(4)", "char(9)", "VARCHAR", False),
    ("enum('a','it''s')", "enum('it''s','b','a')", "VARCHAR", True),
    ("enum('a','b')", "enum('a')", "VARCHAR", False),
    ("enum('abc')", "varchar(3)", "VARCHAR", True),
    ("set('a','b')", "varchar(2)", "VARCHAR", False),
    ("float(7,4)", "double", "FLOAT", False),
    ("datetime(3)", "datetime(6)", "TIMESTAMP", True),
    ("datetime(6)", "datetime", "TIMESTAMP", False),
    ("datetime /* mariadb-5.3 */", "datetime", "TIMESTAMP", True),
    ("binary(4)", "binary(8)", "BLOB", False),
    ("bit(2)", "bit(8)", "UBIGINT", True),
]
SNOWFLAKE = [
    ("NUMBER(10,2)", "NUMBER(38,2)", "DECIMAL(10,2)", True),
    ("NUMBER(10,2)", "NUMBER(10,1)", "DECIMAL(10,2)", False),
    ("TIMESTAMP_NTZ", "TIMESTAMP_TZ", "TIMESTAMP", False),
    ("TEXT", "VARIANT", "VARCHAR", False),
]
RULES = ((postgres, POSTGRES), (mysql, MYSQL), (snowflake, SNOWFLAKE))
CASES = [(rule, *case) for rule, cases in RULES for case in cases]


@pytest.mark.parametrize(("rule", "before", "after", "lake_type", "keeps"), CASES)
def test_only_a_change_that_cannot_alter_a_value_counts(rule, before, after, lake_type, keeps):
    """A database may round, cut, pad or clamp the old rows, and the lake would not know."""
    assert rule(before, after, lake_type) is keeps
