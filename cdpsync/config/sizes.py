"""Sizes as people write them: `4GiB`, `500MB`, or plain bytes."""

import re

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(value: object) -> int:
    """Return the bytes of a text or a number; ValueError if it is no size, or zero.

    GiB is a power of 1024, GB (and G) one of 1000.
    """
    match = _SIZE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    size = 0
    if match:
        unit = 1024 if match[3] else 1000
        size = int(float(match[1]) * unit ** _POWER.get((match[2] or "").lower(), 0))
    if size <= 0:
        raise ValueError("must be a size above zero. Write 4GiB or 500MB")
    return size
