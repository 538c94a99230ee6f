"""Numbers and times in a notation that a user named, as SQL of their standard text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdpsync.sql import quote_text

_DIRECTIVE = re.compile(r"%-?.")
_DATE_PARTS = {"%d", "%m", "%Y", "%y", "%b", "%B", "%a", "%A", "%j"}
_TIME_PARTS = {"%H", "%I", "%p", "%M", "%S", "%f", "%z"}
_ZONED = r"^(.*?)(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


@dataclass(frozen=True, slots=True)
class ValueFormats:
    """The decimal point, the sign between thousands, and the formats of dates and timestamps."""

    decimal: str = "."
    thousands: str = ""
    date: str = ""
    timestamp: str = ""

    @property
    def are_standard(self) -> bool:
        """Whether values are written as they are without options."""
        return self == ValueFormats()


def check_format(format_: str, *, with_time: bool) -> None:
    """Raise ValueError for a format that does not tell a whole day, or the time of day."""
    parts = {part.replace("-", "") for part in _DIRECTIVE.findall(format_.replace("%%", ""))}
    unknown = parts - _DATE_PARTS - (_TIME_PARTS if with_time else set())
    if unknown:
        raise ValueError(f"{min(unknown)} is not known there")
    has_day = "%j" in parts or ("%d" in parts and parts & {"%m", "%b", "%B"})
    if not (has_day and parts & {"%Y", "%y"}):
        raise ValueError("names no year, month and day, such as %d/%m/%Y")
    if with_time and not parts & {"%H", "%I"}:
        raise ValueError("names no hour, such as %d/%m/%Y %H:%M:%S")
    if "%I" in parts and "%p" not in parts:
        raise ValueError("has %I without %p")
    if "%z" in parts and not format_.endswith("%z"):
        raise ValueError("has %z, which stands at the end")


def standard_text(text: str, formats: ValueFormats) -> str:
    """Return the standard text of a value, as SQL: `1.234,5` is 1234.5, `31/12/2024` 2024-12-31.

    Any other text stays as it is, but a number or day in the standard notation, which would be
    another value in the user's, gets a mark and is no number any more.
    """
    cases = []
    if formats.timestamp:
        cases.append(_timestamp_case(text, formats.timestamp))
    if formats.date:
        cases.append(_date_case(text, formats.date))
    if formats.decimal != "." or formats.thousands:
        cases += _number_cases(text, formats)
    return f"case {' '.join(cases)} else {text} end"


def _number_cases(text: str, formats: ValueFormats) -> list[str]:
    decimal, thousands = re.escape(formats.decimal), re.escape(formats.thousands)
    digits = "[0-9]+" + (f"|[0-9]{{1,3}}({thousands}[0-9]{{3}})+" if thousands else "")
    pattern = f"-?({digits})({decimal}[0-9]+)?([eE][+-]?[0-9]+)?"
    plain = f"replace({text}, {quote_text(formats.thousands)}, '')" if thousands else text
    if formats.decimal != ".":
        plain = f"replace({plain}, {quote_text(formats.decimal)}, '.')"
    mark = quote_text(f' (decimal: "{formats.decimal}")')
    other_pattern = "'-?[0-9]*[.][0-9]+([eE][+-]?[0-9]+)?'"
    is_in_other_notation = f"regexp_full_match({text}, {other_pattern})"
    return [
        f"when regexp_full_match({text}, {quote_text(pattern)}) then {plain}",
        f"when {is_in_other_notation} then {text} || {mark}",
    ]


def _date_case(text: str, format_: str) -> str:
    day = f"try_strptime({text}, {quote_text(format_)})"
    case = f"when {_is_written_so(text, day, format_)} then strftime({day}, '%Y-%m-%d')"
    if format_.startswith("%Y"):  # another order of the same parts
        mark = quote_text(f" (date_format: {format_})")
        is_day = f"regexp_full_match({text}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}')"
        case += f" when {is_day} then {text} || {mark}"
    return case


def _timestamp_case(text: str, format_: str) -> str:
    standard = "'%Y-%m-%d %H:%M:%S.%f'"
    if not format_.endswith("%z"):
        moment = f"try_strptime({text}, {quote_text(format_)})"
        return f"when {_is_written_so(text, moment, format_)} then strftime({moment}, {standard})"
    local_format = format_.removesuffix("%z")
    local_text = f"regexp_extract({text}, '{_ZONED}', 1)"
    local_moment = f"try_strptime({local_text}, {quote_text(local_format)})"
    moment = f"timezone('UTC', try_strptime({text}, {quote_text(format_)}))"
    is_written_so = _is_written_so(local_text, local_moment, local_format)
    return (
        f"when {is_written_so} and {moment} is not null "
        f"then strftime({moment}, {standard}) || '+00:00'"
    )


def _is_written_so(text: str, moment: str, format_: str) -> str:
    """Return whether a text is what the format writes, with or without zeros in front.

    DuckDB 1.5.5 is more tolerant: it takes spaces around, and 24 as the year 24 for %Y.
    """
    without_zeros = re.sub(r"%([dmHI])", r"%-\1", format_)
    written = [f"lower(strftime({moment}, {quote_text(f)}))" for f in (format_, without_zeros)]
    read = f"lower({text})"
    if format_.rstrip().endswith("%f"):  # fewer digits than six
        written, read = [f"rtrim({w}, '0')" for w in written], f"rtrim({read}, '0')"
    return f"{moment} is not null and ({' or '.join(f'{read} = {w}' for w in written)})"
