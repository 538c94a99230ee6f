"""SQL expressions over values in text form: their class, their digits, exact casts.

Every function takes and returns SQL expressions. Measured with DuckDB 1.5.5: a cast from text
rounds decimals ('1.005' to 1.01), drops digits behind a microsecond and text behind a date, and
ignores the offset of a time. So each cast here checks a pattern first.
"""

from __future__ import annotations

from cdpsync.errors import ReadError
from cdpsync.model.types import MAX_PRECISION, decimal_of
from cdpsync.sql import glob_escaped, quote_text

_SHORT = 18  # digits that DuckDB casts fast

INEXACT = "not exact: "
"""The begin of the message about a value that does not fit, to tell it from DuckDB's errors."""

# The class of a value as one bit, so that one bit_or gives all classes of a column.
INTEGER, DECIMAL, FLOAT, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, TEXT, NESTED = (
    1 << bit for bit in range(9)
)

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,%d})?)?"
_SECONDS = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_OFFSET = "(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)"
_MOMENT = f"{_DAY}[T ]{_CLOCK % 6}"
_MOMENT_NS = f"{_DAY}([T ]{_CLOCK % 9})?"
_MOMENT_TZ = f"{_DAY}[T ]{_SECONDS}{_OFFSET}"
_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_NOT_FINITE = ("NaN", "nan", "Infinity", "-Infinity", "inf", "-inf")
_TRUTHS = ("true", "false", "True", "False", "TRUE", "FALSE")

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_INTEGERS |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


def quote_files(paths: list[str]) -> str:
    """Return a list of files as SQL; each path is escaped, because DuckDB reads it as a glob."""
    return "[" + ", ".join(quote_text(glob_escaped(path)) for path in paths) + "]"


def number_class(text: str, other_class: str) -> str:
    """Return the class of a number's canonical text, else `other_class`.

    A zero with a minus sign is not a canonical decimal, because only a float keeps the sign.
    """
    return f"""case
        when regexp_full_match({text}, '0|-?[1-9][0-9]{{0,17}}') then {INTEGER}
        when regexp_full_match({text}, '-?[1-9][0-9]{{18}}')
            and try_cast({text} as bigint) is not null then {INTEGER}
        when regexp_full_match({text}, '(0|-?[1-9][0-9]*)(\\.[0-9]+)?|-0\\.0*[1-9][0-9]*')
            then {DECIMAL}
        else {other_class} end"""


def text_class(text: str) -> str:
    """Return the class of any text."""
    other_class = f"""case
        when regexp_full_match({text}, '{_NUMBER}') and regexp_matches({text}, '[eE]')
            or {_is_one_of(text, _NOT_FINITE)} then {FLOAT}
        when {_is_one_of(text, _TRUTHS)} then {BOOLEAN}
        when regexp_full_match({text}, '{_DAY}') and {_real_day(text)} then {DATE}
        when regexp_full_match({text}, '{_MOMENT}') and {_real_day(text)} then {TIMESTAMP}
        when regexp_full_match({text}, '{_MOMENT_TZ}') and {_real_day(text)} then {TIMESTAMPTZ}
        else {TEXT} end"""
    return f"""case
        when {text} is null then 0
        when not regexp_matches({text}, '^[-0-9tTfFnNiI]') then {TEXT}
        else {number_class(text, other_class)} end"""


def _is_one_of(text: str, values: tuple[str, ...]) -> str:
    """Return whether a text is one of these.

    It is no IN, because DuckDB 1.5.5 makes a join of each IN of more than five constants: two for
    each column of a file, each as wide as the file.
    """
    return "(" + " or ".join(f"{text} = {quote_text(value)}" for value in values) + ")"


def _real_day(text: str) -> str:
    day = f"left({text}, 10)"
    return f"cast(try_cast({day} as date) as varchar) is not distinct from {day}"


def whole_digits(text: str) -> str:
    """Return the number of digits that a plain number needs before the point."""
    return f"length(ltrim(split_part(ltrim({text}, '-'), '.', 1), '0'))"


def fraction_digits(text: str) -> str:
    """Return the number of digits that a plain number has behind the point."""
    return f"length(split_part({text}, '.', 2))"


def float_keeps(text: str, type_: str = "DOUBLE") -> str:
    """Return whether a float keeps a number: printed with as many digits, it is as written.

    A float always keeps 15 digits (a FLOAT 6). Up to 17 (9) are printed and compared. It never
    keeps more.
    """
    safe_digits, max_digits, smallest = (15, 17, 2.2250738585072014e-308)
    if type_ == "FLOAT":
        safe_digits, max_digits, smallest = (6, 9, 1.17549435e-38)
    mantissa = f"replace(regexp_extract({text}, '^[+-]?([0-9.]*)', 1), '.', '')"
    digits = f"trim({mantissa}, '0')"
    value = f"cast(try_cast({text} as {type_}) as double)"
    comparisons = " ".join(
        f"when {n} then rtrim(replace(regexp_extract("
        f"format('{{:.{n - 1}e}}', {value}), '[0-9.]+'), '.', ''), '0') = {digits}"
        for n in range(safe_digits + 1, max_digits + 1)
    )
    return f"""case
        when {text} is null then null
        when {value} is null then false
        when {digits} = '' then true
        when not isfinite({value}) or abs({value}) < {smallest!r}::double then false
        when length({digits}) <= {safe_digits} then true
        else case length({digits}) {comparisons} else false end end"""


def plain_cast(text: str, type_: str) -> str:
    """Return the cast of a text that fits the type.

    DuckDB 1.5.5 takes 40 us to cast a text of more than 18 digits to a DECIMAL, and 0.6 us through
    HUGEINT: as a number without a point, multiplied by the smallest number of the scale.
    """
    precision, scale = decimal_of(type_) or (0, 0)
    if precision <= _SHORT:
        return f"cast({text} as {type_})"
    fraction = f"split_part({text}, '.', 2)"
    digits = f"split_part({text}, '.', 1) || rpad({fraction}, {scale}, '0')"
    number = f"cast(cast({digits} as hugeint) as decimal({MAX_PRECISION},0))"
    if scale:
        number += f" * cast('0.{'0' * (scale - 1)}1' as decimal({scale},{scale}))"
    number = f"cast({number} as {type_})"
    if scale < _SHORT:
        short = f"cast(cast({text} as decimal({_SHORT},{scale})) as {type_})"
        begin = f"when length(split_part({text}, '.', 1)) <= {_SHORT - scale} then {short} "
    else:
        begin = ""
    return (
        f"case {begin}when length({fraction}) <= {scale} then {number} "
        f"else cast({text} as {type_}) end"
    )


def exact_cast(text: str, type_: str, column: str, where: str) -> str:
    """Return the exact cast of a text; in DuckDB it fails, naming column and value, if inexact.

    A time without offset is UTC as a TIMESTAMP WITH TIME ZONE. Raises ReadError for a type that a
    text cannot become.
    """
    fits, value = _rule(text, type_, column)
    before = quote_text(f'{INEXACT}{where}: column "{column}": value "')
    after = quote_text(f'" is not exactly a {type_}. Set another type under columns: {{types: …}}.')
    return (
        f"case when {text} is null then null when {fits} then {value} "
        f"else error({before} || left({text}, 80) || {after}) end"
    )


def is_exact(text: str, type_: str, column: str) -> str:
    """Return whether a text is NULL or exactly of a type. Raises ReadError as `exact_cast` does."""
    fits, _ = _rule(text, type_, column)
    return f"({text} is null or coalesce({fits}, false))"


def _rule(text: str, type_: str, column: str) -> tuple[str, str]:
    """Return two expressions: whether the text is exactly of the type, and its value."""
    value = f"try_cast({text} as {type_})"
    is_castable = f"{value} is not null"
    decimal = (0, 0) if type_ in _INTEGERS else decimal_of(type_)
    if decimal:
        plain = (
            f"regexp_full_match({text}, '[+-]?([0-9]+(\\.[0-9]{{0,{decimal[1]}}}0*)?|\\.[0-9]+)')"
        )
        short = f"length(rtrim(split_part({text}, '.', 2), '0')) <= {decimal[1]}"
        return f"{plain} and {short} and {is_castable}", value
    rules = {
        "VARCHAR": ("true", text),
        "BLOB": ("true", f"encode({text})"),
        "JSON": (f"json_valid({text})", f"cast({text} as json)"),
        "BOOLEAN": (is_castable, value),
        "UUID": (is_castable, value),
        "DOUBLE": (float_keeps(text), value),
        "FLOAT": (float_keeps(text, "FLOAT"), value),
        "DATE": (f"regexp_full_match({text}, '{_DAY}') and {_real_day(text)}", value),
        "TIME": (f"regexp_full_match({text}, '{_CLOCK % 6}') and {is_castable}", value),
        "TIMESTAMP": (
            f"regexp_full_match({text}, '{_DAY}([T ]{_CLOCK % 6})?') and {is_castable}",
            value,
        ),
        "TIMESTAMP_NS": (f"regexp_full_match({text}, '{_MOMENT_NS}') and {is_castable}", value),
        "TIMESTAMP WITH TIME ZONE": _moment_rule(text),
    }
    if type_ not in rules:
        raise ReadError(
            f'column "{column}": a text cannot be read as {type_}. Set columns: {{types: '
            f"{{{column}: json}}}}, or varchar."
        )
    return rules[type_]


def _moment_rule(text: str) -> tuple[str, str]:
    naive = f"regexp_full_match({text}, '{_DAY}([T ]{_CLOCK % 6})?')"
    value = (
        f"case when {naive} then timezone('UTC', try_cast({text} as timestamp)) "
        f"else try_cast({text} as timestamptz) end"
    )
    aware = f"regexp_full_match({text}, '{_MOMENT_TZ}')"
    return f"({naive} or {aware}) and {value} is not null", value


def exact_recast(value: str, old: str, new: str, column: str, where: str) -> str:
    """Return the cast of a value to another type; it fails, naming both, if it cannot be undone."""
    if old == "VARCHAR":
        return exact_cast(value, new, column, where)
    cast = f"try_cast({value} as {new})"
    before = quote_text(f'{INEXACT}{where}: column "{column}": value "')
    after = quote_text(f'" is not exactly a {new}. Set another type under columns: {{types: …}}.')
    return (
        f"case when {value} is null then null when try_cast({cast} as {old}) = {value} then {cast} "
        f"else error({before} || left(cast({value} as varchar), 80) || {after}) end"
    )


def inexact(error: Exception) -> ReadError | None:
    """Return our error for a value that does not fit its type; None for any other error."""
    text = str(error)
    return ReadError(text.split(INEXACT, 1)[1]) if INEXACT in text else None
