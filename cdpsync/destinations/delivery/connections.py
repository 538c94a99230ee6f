"""HTTP connections of one destination: libcurl sends requests side by side, answers are cut."""

from __future__ import annotations

import importlib.util
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync.destinations.delivery import addresses
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from cdpsync.model.destinations import Destination

MOST = 256
"""Connections at once, because `select` takes no descriptor from 1,024 on."""

SHORT_ANSWER = 4_096
"""Bytes that are kept of an answer that only a person reads."""
LONG_ANSWER = 4 << 20
"""Bytes that are kept of an answer that rules look into."""
_DRAINED = 64 << 10  # bytes read of a longer answer, so that its connection can be used again
_CONNECT_SECONDS = 10
_NAP = 0.005  # seconds, while curl resolves a name and has no socket to wait for


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it goes over the wire. `is_guarded`: its host comes from a row."""

    method: str
    url: str
    headers: Sequence[str]
    body: bytes | None
    is_guarded: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a request, or the `error` instead of one.

    `is_final`: another attempt would fail in the same way. `is_cut`: the answer was longer.
    `method` is that of the request.
    """

    status: int
    body: bytes
    raw_headers: bytes
    seconds: float
    error: str | None = None
    is_final: bool = False
    is_cut: bool = False
    method: str = "POST"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the last answer, with names in lower case."""
        lines = self.raw_headers.decode("latin-1").strip().split("\r\n\r\n")[-1].split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


def load_curl() -> ModuleType:
    """Return pycurl; raise ConfigError that names the package if it is not installed."""
    try:
        import pycurl
    except ImportError as error:
        raise ConfigError(
            f"destinations need pycurl ({error}). Install it: pip install 'cdpsync[send]'."
        ) from error
    return pycurl  # type: ignore[no-any-return]  # it has no types


def authorities() -> str | None:
    """Return the file of the certificate authorities that this machine trusts, or None: curl's own.

    The wheel of pycurl looks for one where Red Hat has it, and there alone. SSL_CERT_FILE wins,
    then comes the file of Python's own TLS, then that of certifi.
    """
    import ssl

    file = ssl.get_default_verify_paths().cafile
    if file is None and importlib.util.find_spec("certifi") is not None:
        import certifi

        file = certifi.where()
    return file


@dataclass(slots=True, eq=False)
class _Handle:
    """One of curl's handles, which is used again and again: what is set, and what came back."""

    curl: Any  # pycurl has no types
    keeps: int
    guarded: bool
    kind: tuple[str, bool] | None = None
    url: str | None = None
    headers: Sequence[str] | None = None
    tag: object = None
    parts: list[bytes] = field(default_factory=list)
    head: list[bytes] = field(default_factory=list)
    size: int = 0
    is_cut: bool = False
    refused: str | None = None

    def reset(self, tag: object) -> None:
        """Forget the answer to the last request."""
        self.tag = tag
        self.parts.clear()
        self.head.clear()
        self.size = 0
        self.is_cut = False
        self.refused = None

    def write(self, data: bytes) -> int | None:
        """Keep the beginning of an answer; end the transfer where the rest is long."""
        room = self.keeps - self.size
        self.size += len(data)
        if room > 0:
            self.parts.append(data[:room])
        if self.size > self.keeps:
            self.is_cut = True
            if self.size > self.keeps + _DRAINED:
                return -1
        return None

    def open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> object:
        """Open the socket of a connection, unless its address is refused. curl looked it up."""
        family, kind, protocol, target = address
        if self.guarded and not (
            family in (socket.AF_INET, socket.AF_INET6) and addresses.is_public(_text(target[0]))
        ):
            self.refused = f"its host leads to {_text(target[0])}, which is not a public address"
            return load_curl().SOCKET_BAD
        return _Socket(family, kind, protocol)


class _Socket(socket.socket):
    """A socket that pycurl copies; the original closes when nothing refers to it."""

    def __del__(self) -> None:
        self.close()


def connect(
    destination: Destination, *, reads_answers: bool = True, count: int | None = None
) -> Connections:
    """Return connections for a destination: as many as it allows, or fewer."""
    return Connections(
        destination.connections if count is None else count,
        timeout=destination.retry.timeout.total_seconds(),
        keeps=LONG_ANSWER if reads_answers else SHORT_ANSWER,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Connections:
    """At most `count` requests at once. `start` takes one while there is a free connection."""

    def __init__(self, count: int, *, timeout: float, keeps: int) -> None:
        self._curl = load_curl()
        self.count = max(min(count, MOST), 1)
        self._timeout, self._keeps = timeout, keeps
        self._multi = self._curl.CurlMulti()
        self._multi.setopt(self._curl.M_MAXCONNECTS, self.count)
        self._multi.setopt(self._curl.M_MAX_TOTAL_CONNECTIONS, self.count)
        self._free: dict[bool, list[_Handle]] = {False: [], True: []}  # by whether guarded
        self._busy: dict[Any, _Handle] = {}  # by curl's handle

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answer."""
        return len(self._busy)

    def start(self, request: HttpRequest, tag: object) -> None:
        """Start a request; `wait` returns its answer with the tag."""
        free = self._free[request.is_guarded]
        handle = free.pop() if free else self._new_handle(request.is_guarded)
        handle.reset(tag)
        curl, options = handle.curl, self._curl
        if request.url != handle.url:
            curl.setopt(options.URL, request.url)
            handle.url = request.url
        if request.headers is not handle.headers:
            curl.setopt(options.HTTPHEADER, [line.encode() for line in request.headers])
            handle.headers = request.headers
        if handle.kind != (request.method, request.body is not None):
            self._set_method(handle, request)
        if request.body is not None:
            curl.setopt(options.POSTFIELDS, request.body)
        self._busy[curl] = handle
        self._multi.add_handle(curl)

    def _set_method(self, handle: _Handle, request: HttpRequest) -> None:
        curl, options = handle.curl, self._curl
        has_body = request.body is not None
        curl.setopt(options.NOBODY, request.method == "HEAD")
        if has_body:
            curl.setopt(options.POST, 1)
        elif request.method != "HEAD":
            curl.setopt(options.HTTPGET, 1)
        curl.setopt(options.CUSTOMREQUEST, request.method)
        handle.kind = (request.method, has_body)

    def _new_handle(self, is_guarded: bool) -> _Handle:
        options = self._curl
        handle = _Handle(options.Curl(), self._keeps, is_guarded)
        set_option = handle.curl.setopt
        set_option(options.NOSIGNAL, 1)
        set_option(options.FOLLOWLOCATION, 0)
        set_option(options.PROTOCOLS, options.PROTO_HTTP | options.PROTO_HTTPS)
        set_option(options.TIMEOUT_MS, int(self._timeout * 1000))
        set_option(options.CONNECTTIMEOUT_MS, int(min(_CONNECT_SECONDS, self._timeout) * 1000))
        set_option(options.SSL_VERIFYPEER, 1)
        set_option(options.SSL_VERIFYHOST, 2)
        set_option(options.ACCEPT_ENCODING, "")
        if (ca_file := authorities()) is not None:
            set_option(options.CAINFO, ca_file)
        if is_guarded:  # because a proxy would look the host up where nobody checks its address
            set_option(options.PROXY, "")
        set_option(options.WRITEFUNCTION, handle.write)
        set_option(options.HEADERFUNCTION, handle.head.append)
        set_option(options.OPENSOCKETFUNCTION, handle.open_socket)
        return handle

    def wait(self, seconds: float) -> list[tuple[object, HttpAnswer]]:
        """Return the answers that are there; wait for the first of them for at most so long."""
        self._perform()
        answers = self._read()
        if not answers and self._busy:
            self._select(seconds)
            self._perform()
            answers = self._read()
        return answers

    def _perform(self) -> None:
        while self._multi.perform()[0] == self._curl.E_CALL_MULTI_PERFORM:
            pass

    def _select(self, seconds: float) -> None:
        timer = self._multi.timeout()  # of curl itself, in milliseconds; -1: it has none
        if timer >= 0:
            seconds = min(seconds, timer / 1000)
        if seconds > 0 and self._multi.select(seconds) < 0:
            time.sleep(min(seconds, _NAP))

    def _read(self) -> list[tuple[object, HttpAnswer]]:
        answers: list[tuple[object, HttpAnswer]] = []
        more = 1
        while more:
            more, done, failed = self._multi.info_read()
            answers += [self._finish(curl, 0, "") for curl in done]
            answers += [self._finish(curl, code, text) for curl, code, text in failed]
        return answers

    def _finish(self, curl: Any, code: int, text: str) -> tuple[object, HttpAnswer]:  # noqa: ANN401 - pycurl has no types
        handle = self._busy.pop(curl)
        self._multi.remove_handle(curl)
        status = curl.getinfo(self._curl.RESPONSE_CODE)
        seconds = curl.getinfo(self._curl.TOTAL_TIME)
        error, is_final = (None, False) if code == 0 else self._fault(handle, code, text)
        body = handle.parts[0] if len(handle.parts) == 1 else b"".join(handle.parts)
        answer = HttpAnswer(
            status,
            body,
            b"".join(handle.head),
            seconds,
            error,
            is_final,
            handle.is_cut,
            handle.kind[0] if handle.kind else "POST",
        )
        self._free[handle.guarded].append(handle)
        return handle.tag, answer

    def _fault(self, handle: _Handle, code: int, text: str) -> tuple[str | None, bool]:
        """Return the message of curl's error, and whether another attempt would fail as well."""
        if handle.refused:
            return handle.refused, True
        if handle.is_cut and code == self._curl.E_WRITE_ERROR:
            return None, False  # the answer is there, only the rest of it was not wanted
        if code == self._curl.E_OPERATION_TIMEDOUT:
            return f"no answer within {self._timeout:g} s", False
        message = " ".join(text.split()) or f"curl error {code}"
        return message, code == self._curl.E_URL_MALFORMAT

    def close(self) -> None:
        """Close all connections; requests that wait for an answer are dropped."""
        for curl in self._busy:
            self._multi.remove_handle(curl)
        for handle in [*self._busy.values(), *self._free[False], *self._free[True]]:
            handle.curl.close()
        self._busy.clear()
        self._free = {False: [], True: []}
        self._multi.close()
