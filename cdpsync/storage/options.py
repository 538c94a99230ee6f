"""The URL of a bucket, and the storage options of the project file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

from pydantic import SecretStr

from cdpsync.errors import ConfigError, LandingError


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A bucket and the prefix of its objects: empty, or with a final slash."""

    scheme: str
    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Parse `s3://bucket/some/prefix`."""
        scheme, _, path = url.partition("://")
        bucket, _, prefix = path.partition("/")
        prefix = prefix.strip("/")
        return cls(scheme, bucket, f"{prefix}/" if prefix else "")

    def key(self, name: str) -> str:
        """Return the full name of an object."""
        return self.prefix + name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """`warehouse.storage`, with its secrets as text. None: from the usual credential chains."""

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
    def of(cls, section: object, location: str) -> Self:
        """Read the options of the project file. Raises ConfigError for one key of a pair."""
        values: dict[str, str] = {}
        for field_ in fields(cls):
            value = getattr(section, field_.name, None)
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if text:
                values[field_.name] = text
        options = cls(**{**values, "location": location})
        if (options.access_key_id is None) != (options.secret_access_key is None):
            missing = "secret_access_key" if options.access_key_id else "access_key_id"
            raise options.error(
                f"{missing} is missing: the two keys belong together. Give both, or neither"
            )
        return options

    def error(self, problem: str) -> ConfigError:
        """Return an error about the project file's `warehouse.storage`."""
        return ConfigError(f"{self.location}: warehouse.storage: {problem}.")


def missing_driver(name: str, extra: str) -> ConfigError:
    """Return the error that names the command which installs a driver."""
    return ConfigError(
        f"{name} is needed for this warehouse and is not installed. "
        f"Install it: pip install 'cdpsync[{extra}]'."
    )


def already_exists(url: BucketUrl, name: str) -> LandingError:
    """Return the error for a name that an object in the bucket has already."""
    return LandingError(
        f"{url}/{name}: an object of this name exists already, and none is ever overwritten. "
        "Nothing was committed; run this again: the next run uses a new name."
    )
