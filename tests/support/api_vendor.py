"""The base of local servers that behave as one vendor's documentation says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from support.api_server import ApiServer, Number, Reply

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from support.api_server import ApiRequest

Row = dict[str, Any]


class RefusedError(Exception):
    """The server answers with an error."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


class VendorServer(ApiServer):
    """A vendor's API: `rows` has the records of each stream, as the API returns them.

    `limited` is how many requests to refuse, because too many came. A subclass says how the vendor
    checks credentials and parameters, and what its errors look like.
    """

    type: ClassVar[str]
    """The source's type, which is the manifest's name."""

    cursors: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Of each stream that the API filters by a time: the field and the parameter."""

    def __init__(self) -> None:
        super().__init__({})
        self.rows: dict[str, list[Row]] = {}
        self.limited = 0
        self.before = self._before

    @property
    def options(self) -> dict[str, Any]:
        """What a user of the vendor gives, and the address of this server."""
        raise NotImplementedError

    @property
    def wrong_options(self) -> dict[str, Any]:
        """The same with a token that was revoked."""
        return {
            name: value if name == "base_url" else "revoked-1234"
            for name, value in self.options.items()
        }

    def is_authorized(self, request: ApiRequest) -> bool:
        raise NotImplementedError

    def unauthorized(self) -> Reply:
        raise NotImplementedError

    def too_many(self) -> Reply:
        raise NotImplementedError

    def bad_request(self, what: str) -> Reply:
        raise NotImplementedError

    def answer(self, request: ApiRequest) -> Reply:
        try:
            return super().answer(request)
        except RefusedError as refused:
            return refused.reply

    def require(self, condition: object, what: str) -> None:
        """Refuse the request unless the condition holds."""
        if not condition:
            raise RefusedError(self.bad_request(what))

    def require_params(self, request: ApiRequest, known: Collection[str]) -> None:
        unknown = set(request.query) - set(known)
        self.require(not unknown, f"unknown parameters: {unknown}")

    def number(self, request: ApiRequest, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number among the parameters, within the documented limits."""
        text = request.query.get(name, str(default))
        self.require(text.isdigit() and low <= int(text) <= high, f"{name}: {text!r}")
        return int(text)

    def _before(self, request: ApiRequest) -> Reply | None:
        if not self.is_authorized(request):
            return self.unauthorized()
        if self.limited:
            self.limited -= 1
            return self.too_many()
        return None


def varied(count: int) -> Iterator[tuple[int, Row]]:
    """Yield numbers, each with fields that are hard to keep: nulls, nested ones, long numbers."""
    for n in range(count):
        yield (
            n,
            {
                "note": None if n % 3 == 0 else f'line 1\nline "{n}" \\ ü 🌍 \u2028',
                "nothing": None,
                "metadata": {"n": n, "tags": ["a", None, {"deep": [Number("1.10")]}], "e": {}},
                "labels": [] if n % 2 else [str(n)],
                "big": Number(f"1844674407370955161{n % 10}"),
                "price": Number(f"{n}.10"),
                "is_even": n % 2 == 0,
            },
        )


def letters(prefix: str, n: int) -> str:
    """Return an id of the form that many vendors have, in the order of the numbers."""
    return f"{prefix}{n:026d}"
