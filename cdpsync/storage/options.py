"""A bucket's place, and what the project file says of how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

from pydantic import SecretStr

from cdpsync.errors import ConfigError, LandingError


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A bucket and what the names in it begin with: nothing, or a prefix with a final slash."""

    scheme: str
    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Take `s3://bucket/some/prefix` apart."""
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        return cls(scheme, bucket, f"{prefix}/" if prefix else "")

    def key(self, name: str) -> str:
        """Return the full name of an object."""
        return self.prefix + name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """`warehouse.storage`, with its secrets as text; None means: as the usual chains say."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    account_id: str | None = None
    credentials: str | None = field(default=None, repr=False)
    location: str = ""

    @classmethod
    def of(cls, options: object, location: str) -> Self:
        """Read the options of the project file. Raises ConfigError for half a pair of keys."""
        said: dict[str, str] = {}
        for one in fields(cls):
            value = getattr(options, one.name, None)
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if text:
                said[one.name] = text
        access = cls(**{**said, "location": location})
        if (access.access_key_id is None) != (access.secret_access_key is None):
            missing = "secret_access_key" if access.access_key_id else "access_key_id"
            raise access.error(
                f"{missing} is missing: the two keys belong together. Give both, or neither"
            )
        return access

    def error(self, problem: str) -> ConfigError:
        """Return an error about the project file's `warehouse.storage`."""
        return ConfigError(f"{self.location}: warehouse.storage: {problem}.")


def missing_driver(name: str, extra: str) -> ConfigError:
    """Return the error that names the command which installs a driver."""
    return ConfigError(
        f"{name} is needed for this warehouse and is not installed. "
        f"Install it: pip install 'cdpsync[{extra}]'."
    )


def already_exists(place: BucketUrl, name: str) -> LandingError:
    """Return the error for a name under which there is an object already."""
    return LandingError(
        f"{place}/{name}: an object of this name is there already, and none is ever overwritten. "
        "Nothing was committed; run this again: it takes a new name."
    )
