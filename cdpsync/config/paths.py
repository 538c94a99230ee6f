"""Paths of the project file, which are relative to its folder; URLs of buckets."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_BUCKET_URL = re.compile(r"(?:s3|r2|gs)://[^/@:?#\s]+(?:/[^\s?#]*)?")


def absolute(path: str, folder: Path) -> Path:
    """Return an absolute path: below `folder` if it is relative, below home if it begins with ~/.

    Symbolic links are resolved only where a `..` needs it, because messages show the user's path.
    """
    expanded = Path(path).expanduser() if path.startswith("~/") else Path(path)
    full = (folder / expanded).absolute()
    return full.resolve() if ".." in full.parts else full


def is_url(text: str) -> bool:
    """Whether a text is a URL."""
    return _URL.match(text) is not None


def is_bucket(text: str) -> bool:
    """Whether a text is a bucket URL: s3://, r2:// or gs://, without a password or a query."""
    return _BUCKET_URL.fullmatch(text) is not None


def is_file_url(text: str) -> bool:
    """Whether a text is the URL of a folder on this machine: `file:///data/lake`."""
    return text.startswith(("file:///", "file://localhost/"))


def warehouse_path(text: str, folder: Path) -> str:
    """Return a bucket URL as it is, anything else as an absolute folder."""
    if is_bucket(text):
        return text
    local = unquote(urlsplit(text).path) if is_file_url(text) else text
    return str(absolute(local, folder))
