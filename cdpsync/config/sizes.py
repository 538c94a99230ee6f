"""Sizes as people write them: `4GiB`, `500MB`, or plain bytes."""

import re

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(given: object) -> int:
    """Return how many bytes a text or a number says; ValueError if it says none, or zero.

    GiB is a power of 1024, GB (and G) one of 1000.
    """
    found = _SIZE.fullmatch(str(given).strip()) if not isinstance(given, bool) else None
    size = 0
    if found:
        unit = 1024 if found[3] else 1000
        size = int(float(found[1]) * unit ** _POWER.get((found[2] or "").lower(), 0))
    if size <= 0:
        raise ValueError("must be a size above zero. Write 4GiB or 500MB")
    return size
