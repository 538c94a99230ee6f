"""Paths of the project file, which are relative to the file they stand in."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_BUCKET_URL = re.compile(r"(?:s3|r2|gs)://[^/@:?#\s]+(?:/[^\s?#]*)?")


def absolute(path: str, folder: Path) -> Path:
    """Return a path, taken from `folder` if it is relative, from home if it begins with `~/`.

    Symbolic links are resolved only where a `..` needs it: the name a user gave stays.
    """
    given = Path(path).expanduser() if path.startswith("~/") else Path(path)
    full = (folder / given).absolute()
    return full.resolve() if ".." in full.parts else full


def is_url(text: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(text) is not None


def is_bucket(text: str) -> bool:
    """Tell a bucket URL: s3://, r2:// or gs://, and neither a password nor a query in it."""
    return _BUCKET_URL.fullmatch(text) is not None


def is_file_url(text: str) -> bool:
    """Tell a URL of a folder on this machine: `file:///data/lake`."""
    return text.startswith(("file:///", "file://localhost/"))


def warehouse_path(text: str, folder: Path) -> str:
    """Return a bucket URL as it is, anything else as an absolute folder."""
    if is_bucket(text):
        return text
    local = unquote(urlsplit(text).path) if is_file_url(text) else text
    return str(absolute(local, folder))
