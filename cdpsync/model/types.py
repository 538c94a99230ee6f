"""Types that the lake can hold exactly, and types that a column can widen to without loss.

Types are DuckDB's, in its own spelling. Measured with DuckDB 1.5.5, in Parquet and DuckLake:
HUGEINT turns into DOUBLE, TIMETZ loses its offset, an INTERVAL is cut to milliseconds and refused
when negative, VARIANT cannot be written. Other scalars, lists, structs and maps stay exact.
"""

from __future__ import annotations

import re

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19}
_DIGITS |= {"UTINYINT": 3, "USMALLINT": 5, "UINTEGER": 10, "UBIGINT": 20}
_SIGNED_FOR = {"UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT"}
MAX_PRECISION = 38
"""The most digits of a DECIMAL in the lake."""

OPEN_DECIMAL = f"DECIMAL({MAX_PRECISION},?)"
"""The type of a decimal column that does not declare its digits, so that only its rows tell."""

_TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
_DECIMAL = re.compile(r"^DECIMAL\((\d+),\s*(\d+)\)$")

AS_TEXT = ("TIME WITH TIME ZONE", "BIT", "INTERVAL", "TIME_NS")
"""Types that Parquet cannot hold but whose text is exact: the lake keeps them as VARCHAR."""

_REFUSED = re.compile(r"\b(HUGEINT|UHUGEINT|VARIANT|UNION|BIGNUM|VARINT)\b")
_NESTED_TEXT = re.compile(r"\b(TIME WITH TIME ZONE|BIT|INTERVAL|TIME_NS)\b")


def decimal_of(type_: str) -> tuple[int, int] | None:
    """Return (precision, scale) of a DECIMAL, or None for any other type."""
    match = _DECIMAL.match(type_)
    return (int(match[1]), int(match[2])) if match else None


def lake_type(type_: str) -> str | None:
    """Return the type of the lake that holds every value of `type_` exactly, or None."""
    if type_ in AS_TEXT or type_.startswith("ENUM("):
        return "VARCHAR"
    if type_ in {"TIMESTAMP_S", "TIMESTAMP_MS"}:
        return "TIMESTAMP"
    if type_ in {'"NULL"', "NULL"}:
        return "VARCHAR"
    if _REFUSED.search(type_):
        return None
    if _NESTED_TEXT.search(type_) or "ENUM(" in type_:
        return "JSON"
    return type_


def widens(old: str, new: str) -> bool:
    """Whether a column can change from `old` to `new` in place, and each value stays equal.

    A conversion that any value may not survive is no widening: text need not be JSON, and a
    timestamp with a time zone is another moment in each zone. docs/decisions/0024 has the reasons.
    """
    if old == new:
        return True
    if old.endswith("[]") and new.endswith("[]"):
        return widens(old[:-2], new[:-2])
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(old) < _INTEGERS.index(new)
    if old in _UNSIGNED and new in _UNSIGNED:
        return _UNSIGNED.index(old) < _UNSIGNED.index(new)
    if old in _SIGNED_FOR and new in _INTEGERS:
        return _INTEGERS.index(_SIGNED_FOR[old]) <= _INTEGERS.index(new)
    wide, narrow = decimal_of(new), _digits(old)
    if wide and narrow:
        return wide[1] >= narrow[1] and wide[0] - wide[1] >= narrow[0]
    return (old, new) in {("FLOAT", "DOUBLE"), ("DATE", "TIMESTAMP")}


def common_type(old: str, new: str) -> str | None:
    """Return the narrowest type to which columns of both types can widen, or None."""
    if widens(new, old):
        return old
    if widens(old, new):
        return new
    if old.endswith("[]") and new.endswith("[]"):
        element = common_type(old[:-2], new[:-2])
        return None if element is None else f"{element}[]"
    old_digits, new_digits = _digits(old), _digits(new)
    if not old_digits or not new_digits:
        return None
    whole, scale = max(old_digits[0], new_digits[0]), max(old_digits[1], new_digits[1])
    signed = [type_ for type_ in _INTEGERS if widens(old, type_) and widens(new, type_)]
    if signed:
        return signed[0]
    return f"DECIMAL({whole + scale},{scale})" if whole + scale <= MAX_PRECISION else None


def is_number(type_: str) -> bool:
    """Whether a type is an integer or a decimal, whose digits are all exact."""
    return _digits(type_) is not None


def _digits(type_: str) -> tuple[int, int] | None:
    """Return the digits before and behind the point of an integer or a decimal, or None."""
    if type_ in _DIGITS:
        return _DIGITS[type_], 0
    decimal = decimal_of(type_)
    return None if decimal is None else (decimal[0] - decimal[1], decimal[1])


_ALIASES = {
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "CHAR": "VARCHAR",
    "BPCHAR": "VARCHAR",
    "NVARCHAR": "VARCHAR",
    "CHARACTER": "VARCHAR",
    "CHARACTER VARYING": "VARCHAR",
    "CHAR VARYING": "VARCHAR",
    "INT1": "TINYINT",
    "INT": "INTEGER",
    "INT2": "SMALLINT",
    "INT4": "INTEGER",
    "INT8": "BIGINT",
    "INT16": "SMALLINT",
    "INT32": "INTEGER",
    "INT64": "BIGINT",
    "INTEGRAL": "INTEGER",
    "SIGNED": "INTEGER",
    "LONG": "BIGINT",
    "OID": "BIGINT",
    "SHORT": "SMALLINT",
    "UINT8": "UTINYINT",
    "UINT16": "USMALLINT",
    "UINT32": "UINTEGER",
    "UINT64": "UBIGINT",
    "TINYINT UNSIGNED": "UTINYINT",
    "SMALLINT UNSIGNED": "USMALLINT",
    "INT UNSIGNED": "UINTEGER",
    "INTEGER UNSIGNED": "UINTEGER",
    "BIGINT UNSIGNED": "UBIGINT",
    "BOOL": "BOOLEAN",
    "LOGICAL": "BOOLEAN",
    "FLOAT4": "FLOAT",
    "REAL": "FLOAT",
    "FLOAT8": "DOUBLE",
    "DOUBLE PRECISION": "DOUBLE",
    "BYTEA": "BLOB",
    "BINARY": "BLOB",
    "VARBINARY": "BLOB",
    "GUID": "UUID",
    "JSONB": "JSON",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_US": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP",
    "TIME WITHOUT TIME ZONE": "TIME",
}
"""Names of DuckDB's types, and those of other databases, for a type of the lake."""

_PLAIN = {
    *_INTEGERS,
    *_UNSIGNED,
    *_TIMES,
    "BLOB",
    "BOOLEAN",
    "DOUBLE",
    "FLOAT",
    "JSON",
    "TIME",
    "TIMESTAMP_NS",
    "UUID",
    "VARCHAR",
}


_DECIMALS = ("DECIMAL", "NUMERIC", "DEC", "NUMBER")
_TEXTS = ("VARCHAR", "CHAR", "BPCHAR", "NVARCHAR", "TEXT", "STRING", "CHARACTER VARYING")
_WITH_LENGTH = re.compile(rf"^({'|'.join(_TEXTS)})\(\d+\)$")
_WITH_MICROSECONDS = re.compile(r"^(TIME|TIMESTAMP|TIMESTAMPTZ|DATETIME)\([0-6]\)(?= |$)")
_WITH_NANOSECONDS = re.compile(r"^(?:TIMESTAMP|DATETIME)\([7-9]\)$")
_WRITTEN_DECIMAL = re.compile(rf"^(?:{'|'.join(_DECIMALS)})\((\d+)(?:,(\d+))?\)$")


def parse_type(text: str) -> str:
    """Return a type as a person writes it (`decimal(20, 4)`, `text[]`) in DuckDB's spelling.

    Raises ValueError for a type that the lake cannot hold exactly.
    """
    name = re.sub(r" ?([(,)\[\]]) ?", r"\1", " ".join(text.replace('"', " ").upper().split()))
    name = re.sub(r"(?<=[)\]])(?=[A-Z])", " ", name)
    lists = ""
    while name.endswith(("[]", " ARRAY")):
        name, lists = name.removesuffix("[]").removesuffix(" ARRAY"), lists + "[]"
    return _scalar_type(name, text) + lists


def _scalar_type(name: str, text: str) -> str:
    decimal = _WRITTEN_DECIMAL.match(name)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2] or 0)
        if not 1 <= precision <= MAX_PRECISION or scale > precision:
            raise ValueError(f"{text}: a decimal has 1 to 38 digits, and no more behind the point")
        return f"DECIMAL({precision},{scale})"
    if name in _DECIMALS:
        raise ValueError(f"{text}: write how many digits it has, as in decimal(18,3)")
    name = _WITH_LENGTH.sub("VARCHAR", name)
    name = _WITH_MICROSECONDS.sub(r"\1", name)
    name = _WITH_NANOSECONDS.sub("TIMESTAMP_NS", name)
    name = _ALIASES.get(name, name)
    if name not in _PLAIN:
        valid = ", ".join(sorted(type_.lower() for type_ in _PLAIN))
        raise ValueError(
            f"{text}: this is not a type of the lake. Valid: decimal(p,s), {valid}, "
            "and lists of these with []"
        )
    return name
