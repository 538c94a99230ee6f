"""The options of a Stripe source, and the version and rates of Stripe's API."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, SecretStr, field_validator

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import suggest
from cdpsync_connectors._shared.options import Names  # noqa: TC001 - pydantic needs it
from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable

API_VERSION = "2026-10-28.endive"
"""Objects have the form of this version: https://docs.stripe.com/api/versioning."""

# https://docs.stripe.com/rate-limits: 100 requests a second in live mode, 25 in a sandbox, and 25
# at one endpoint. These rates are a quarter lower, because other programs use the account, too.
LIVE_RATE = 75.0
TEST_RATE = 18.0
ENDPOINT_RATE = 18.0


class StripeOptions(ConnectorOptions):
    """The keys of a source of `type: stripe`."""

    follows_changes: ClassVar[bool] = True

    api_key: SecretStr
    api_version: Annotated[str, Field(min_length=1, pattern=r"^[0-9A-Za-z.\-_;= ]+$")] = API_VERSION
    stripe_account: Annotated[str, Field(pattern=r"^(acct_\w+|all)$")] | None = None
    api_base: str = "https://api.stripe.com"
    max_rate: Annotated[float, Field(gt=0, le=10_000)] | None = None
    start_date: date | None = None
    concurrency: Annotated[int, Field(ge=1, le=200)] = 20
    timeout: Annotated[float, Field(gt=0)] = 60.0
    expand: dict[str, Names] = Field(default_factory=dict)

    @field_validator("api_key")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value().strip()
        if text.startswith("pk_"):
            raise ValueError(
                "this is a publishable key; reading takes a secret (sk_…) or restricted key (rk_…)"
            )
        if not re.fullmatch(r"[!-~]+", text):
            raise ValueError("write one secret (sk_…) or restricted key (rk_…), without spaces")
        return SecretStr(text)

    @field_validator("api_base")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        if not re.match(r"https?://[^\s/?#]+", address):
            raise ValueError("write https://host, without a path")
        local = r"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?(?:/|$)"
        if not re.match(rf"https://|{local}", address):
            raise ValueError("must be https: the key would be readable on its way")
        return address.rstrip("/")

    @field_validator("expand")
    @classmethod
    def _are_fields(cls, expand: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        possible = {name: stream.expandable for name, stream in STREAMS.items()}
        with_fields = [name for name, fields in possible.items() if fields]
        for stream, fields in expand.items():
            if stream not in with_fields:
                raise ValueError(
                    _unknown(f'"{stream}" has no fields to expand', stream, with_fields)
                )
            for field in fields:
                if field not in possible[stream]:
                    fault = f'"{field}" is not a field of {stream} that Stripe expands'
                    raise ValueError(_unknown(fault, field, possible[stream]))
        return {stream: tuple(sorted({*fields})) for stream, fields in expand.items()}

    @property
    def reads_all_accounts(self) -> bool:
        """Whether every connected account is read, and rows have the account as a column."""
        return self.stripe_account == "all"

    @property
    def is_restricted(self) -> bool:
        """Whether the key may lack permissions: https://docs.stripe.com/keys."""
        return self.api_key.get_secret_value().startswith("rk_")

    def row_format(self, stream: str) -> str:
        """Return the form of a stream's objects: the API's version, and the expanded fields."""
        fields = ", ".join(self.expand.get(stream, ()))
        return f"{self.api_version} with {fields}" if fields else self.api_version

    @property
    def mode(self) -> str | None:
        """Whether the key is for `live` or `test` data; None for one that does not say."""
        key = self.api_key.get_secret_value()
        return next((mode for mode in ("live", "test") if f"_{mode}_" in key), None)

    @property
    def rate(self) -> float:
        """Requests a second: `max_rate`, or else a quarter below the documented limit."""
        if self.max_rate is not None:
            return self.max_rate
        return LIVE_RATE if self.mode == "live" else TEST_RATE

    @property
    def since(self) -> int | None:
        """The start date as seconds since 1970."""
        if self.start_date is None:
            return None
        start = datetime.combine(self.start_date, datetime.min.time(), UTC)
        return int(start.timestamp())


def _unknown(fault: str, name: str, names: Iterable[str]) -> str:
    """Return the message of an unknown name: the nearest one, and all."""
    nearest = suggest(name, names)
    hint = f'did you mean "{nearest}"? ' if nearest else ""
    return f"{fault}; {hint}There are: {', '.join(sorted(names))}"
