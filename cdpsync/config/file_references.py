"""Files that `${file:…}` may read: small ones, in the folders of projects and secrets."""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_LARGEST = 1 << 20  # bytes; a secret is small
_ROOTS = ("/run/secrets", "/var/run/secrets")  # where containers find theirs
MORE_ROOTS = "CDPSYNC_FILE_ROOTS"


class NotAllowedError(ValueError):
    """A file that may not be read, or cannot; the text says which, why, and the next step."""


def read_allowed(path: Path, folder: Path, environ: Mapping[str, str]) -> bytes:
    """Return the content of a file below an allowed folder; `folder` is the project file's own.

    Of a symbolic link, its target counts. Raises NotAllowedError for a file elsewhere, for a pipe
    or a device, and for a file of more than 1 MiB.
    """
    try:
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in _roots(folder, environ)):
            raise NotAllowedError(
                f"a ${{file:…}} may not read {path}. Put the file below the folder of the project "
                f"file, your home, /run/secrets or $CREDENTIALS_DIRECTORY, or name its folder in "
                f"the environment variable {MORE_ROOTS}"
            )
        return _content(real, path)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, NotAllowedError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise NotAllowedError(
            f"the file of a ${{file:…}} cannot be read ({reason}): {path}. Correct the path, or "
            "its permissions"
        ) from None


def _content(real: Path, path: Path) -> bytes:
    """Read an ordinary file, because a pipe would wait for ever and a device would never end."""
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAllowedError(f"the file of a ${{file:…}} is not an ordinary file: {path}")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise NotAllowedError(f"the file of a ${{file:…}} is larger than 1 MiB: {path}")
    return data


def _roots(folder: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Go through the folders below which files may be read, links resolved.

    A home of `/`, which some containers have, does not count, because it would allow every file.
    """
    yield folder.resolve()
    try:
        home = Path.home().resolve()
    except RuntimeError:
        home = Path("/")
    if home != home.parent:
        yield home
    from_environ = (environ.get(name, "") for name in ("CREDENTIALS_DIRECTORY", "RUNNER_TEMP"))
    for root in (*_ROOTS, tempfile.gettempdir(), *from_environ):
        if root:
            yield Path(root).resolve()
    for root in environ.get(MORE_ROOTS, "").split(os.pathsep):
        if root.startswith("/"):
            yield Path(root).resolve()
