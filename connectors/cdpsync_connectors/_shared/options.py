"""Options as people write them: durations, one name for a list of names, an empty word for null."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def seconds(value: object) -> object:
    """Take `30`, `30s`, `5m` or `250ms` for seconds. Raises ValueError for anything else."""
    if value is None or isinstance(value, bool):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip())
    if not found or found[2] not in _UNITS:
        raise ValueError("write seconds, or a duration such as 30s, 5m or 250ms")
    return float(found[1]) * _UNITS[found[2]]


def _one_is_a_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def null_is_a_word(value: object) -> object:
    """Take YAML's null for the word `null`."""
    return "null" if value is None else value


Seconds = Annotated[float, BeforeValidator(seconds)]

Names = Annotated[tuple[str, ...], BeforeValidator(_one_is_a_list)]
"""Several names, or one."""
