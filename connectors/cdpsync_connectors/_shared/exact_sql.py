"""SQL text for values that come as text: quoting, what one looks like, casts that lose nothing.

Every function takes and gives SQL expressions. Measured with DuckDB 1.5.5: a cast from text
rounds decimals ('1.005' to 1.01), drops what is behind a date or a microsecond, and reads a
time without minding its offset; so each cast here is behind a pattern.
"""

from __future__ import annotations

import re

from cdpsync.errors import ReadError
from cdpsync.model.types import decimal_of

INEXACT = "not exact: "
"""How the message of a refused value begins, so that it is known among DuckDB's own errors."""

# What a value can be, as bits, so that one bit_or tells what a whole column holds.
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
_NOT_FINITE = "'NaN', 'nan', 'Infinity', '-Infinity', 'inf', '-inf'"

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_INTEGERS |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


def quote_name(name: str) -> str:
    """Return an identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Return a string literal."""
    return "'" + value.replace("'", "''") + "'"


def quote_files(paths: list[str]) -> str:
    """Return a list of files as SQL, each meant literally: DuckDB globs every entry of a list."""
    escaped = (re.sub(r"([*?\[])", r"[\1]", path) for path in paths)
    return "[" + ", ".join(quote_text(path) for path in escaped) + "]"


def number_class(text: str, other: str) -> str:
    """Return the class of a number's canonical text, or `other`.

    A zero with a minus sign is no canonical decimal: only a float keeps the sign.
    """
    return f"""case
        when regexp_full_match({text}, '0|-?[1-9][0-9]{{0,17}}') then {INTEGER}
        when regexp_full_match({text}, '-?[1-9][0-9]{{18}}')
            and try_cast({text} as bigint) is not null then {INTEGER}
        when regexp_full_match({text}, '(0|-?[1-9][0-9]*)(\\.[0-9]+)?|-0\\.0*[1-9][0-9]*')
            then {DECIMAL}
        else {other} end"""


def text_class(text: str) -> str:
    """Return the class of a text that may be anything."""
    other = f"""case
        when regexp_full_match({text}, '{_NUMBER}') and regexp_matches({text}, '[eE]')
            or {text} in ({_NOT_FINITE}) then {FLOAT}
        when {text} in ('true', 'false', 'True', 'False', 'TRUE', 'FALSE') then {BOOLEAN}
        when regexp_full_match({text}, '{_DAY}') and {_real_day(text)} then {DATE}
        when regexp_full_match({text}, '{_MOMENT}') and {_real_day(text)} then {TIMESTAMP}
        when regexp_full_match({text}, '{_MOMENT_TZ}') and {_real_day(text)} then {TIMESTAMPTZ}
        else {TEXT} end"""
    return f"""case
        when {text} is null then 0
        when not regexp_matches({text}, '^[-0-9tTfFnNiI]') then {TEXT}
        else {number_class(text, other)} end"""


def _real_day(text: str) -> str:
    day = f"left({text}, 10)"
    return f"cast(try_cast({day} as date) as varchar) is not distinct from {day}"


def whole_digits(text: str) -> str:
    """Return how many digits a plain number needs before the point."""
    return f"length(ltrim(split_part(ltrim({text}, '-'), '.', 1), '0'))"


def fraction_digits(text: str) -> str:
    """Return how many digits a plain number has behind the point."""
    return f"length(split_part({text}, '.', 2))"


def float_keeps(text: str, type_: str = "DOUBLE") -> str:
    """Return whether a float keeps a number: printed with as many digits, it is as written.

    15 digits (6 of a FLOAT) always come back; up to 17 (9) are tried; more never do.
    """
    safe, most, least = (15, 17, 2.2250738585072014e-308)
    if type_ == "FLOAT":
        safe, most, least = (6, 9, 1.17549435e-38)
    mantissa = f"replace(regexp_extract({text}, '^[+-]?([0-9.]*)', 1), '.', '')"
    digits = f"trim({mantissa}, '0')"
    value = f"cast(try_cast({text} as {type_}) as double)"
    tried = " ".join(
        f"when {n} then rtrim(replace(regexp_extract("
        f"format('{{:.{n - 1}e}}', {value}), '[0-9.]+'), '.', ''), '0') = {digits}"
        for n in range(safe + 1, most + 1)
    )
    return f"""case
        when {text} is null then null
        when {value} is null then false
        when {digits} = '' then true
        when not isfinite({value}) or abs({value}) < {least!r}::double then false
        when length({digits}) <= {safe} then true
        else case length({digits}) {tried} else false end end"""


def plain_cast(text: str, type_: str) -> str:
    """Return the cast of a text that is known to fit.

    DuckDB 1.5.5 takes 7 us to make a DECIMAL(38,s) of a text, 0.3 us by way of DECIMAL(18,s).
    """
    precision, scale = decimal_of(type_) or (0, 0)
    if precision <= 18 or scale >= 18:
        return f"cast({text} as {type_})"
    return (
        f"case when length(split_part({text}, '.', 1)) <= {18 - scale} "
        f"then cast(cast({text} as decimal(18,{scale})) as {type_}) "
        f"else cast({text} as {type_}) end"
    )


def exact_cast(text: str, type_: str, column: str, where: str) -> str:
    """Return the cast of a text that gives its value exactly, or fails naming column and value.

    A time without offset becomes a TIMESTAMP WITH TIME ZONE as UTC. Raises ReadError for a type
    that no text can become.
    """
    fits, value = _rule(text, type_, column)
    said = quote_text(f'{INEXACT}{where}: column "{column}": value "')
    then = quote_text(f'" is not exactly a {type_}. Set another type under columns: {{types: …}}.')
    return (
        f"case when {text} is null then null when {fits} then {value} "
        f"else error({said} || left({text}, 80) || {then}) end"
    )


def _rule(text: str, type_: str, column: str) -> tuple[str, str]:
    """Return (whether the text is exactly of the type, its value)."""
    fitting = f"try_cast({text} as {type_})"
    some = f"{fitting} is not null"
    decimal = (0, 0) if type_ in _INTEGERS else decimal_of(type_)
    if decimal:
        plain = (
            f"regexp_full_match({text}, '[+-]?([0-9]+(\\.[0-9]{{0,{decimal[1]}}}0*)?|\\.[0-9]+)')"
        )
        short = f"length(rtrim(split_part({text}, '.', 2), '0')) <= {decimal[1]}"
        return f"{plain} and {short} and {some}", fitting
    rules = {
        "VARCHAR": ("true", text),
        "BLOB": ("true", f"encode({text})"),
        "JSON": (f"json_valid({text})", f"cast({text} as json)"),
        "BOOLEAN": (some, fitting),
        "UUID": (some, fitting),
        "DOUBLE": (float_keeps(text), fitting),
        "FLOAT": (float_keeps(text, "FLOAT"), fitting),
        "DATE": (f"regexp_full_match({text}, '{_DAY}') and {_real_day(text)}", fitting),
        "TIME": (f"regexp_full_match({text}, '{_CLOCK % 6}') and {some}", fitting),
        "TIMESTAMP": (
            f"regexp_full_match({text}, '{_DAY}([T ]{_CLOCK % 6})?') and {some}",
            fitting,
        ),
        "TIMESTAMP_NS": (f"regexp_full_match({text}, '{_MOMENT_NS}') and {some}", fitting),
        "TIMESTAMP WITH TIME ZONE": _moment_rule(text),
    }
    if type_ not in rules:
        raise ReadError(
            f'column "{column}": a text cannot become {type_} here. Set columns: {{types: '
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
    """Return the cast of a typed value that can be undone, or fails naming column and value."""
    if old == "VARCHAR":
        return exact_cast(value, new, column, where)
    cast = f"try_cast({value} as {new})"
    said = quote_text(f'{INEXACT}{where}: column "{column}": value "')
    then = quote_text(f'" is not exactly a {new}. Set another type under columns: {{types: …}}.')
    return (
        f"case when {value} is null then null when try_cast({cast} as {old}) = {value} then {cast} "
        f"else error({said} || left(cast({value} as varchar), 80) || {then}) end"
    )


def inexact(error: Exception) -> ReadError | None:
    """Name the error of a refused value; None for any other."""
    text = str(error)
    return ReadError(text.split(INEXACT, 1)[1]) if INEXACT in text else None
