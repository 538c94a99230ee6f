"""Ways to log in: which keys of a source go together, and the driver's keywords for them.

The names are those of snowflake-connector-python 4 (`DEFAULT_CONFIGURATION` in its connection.py),
whose users know them from its documentation and from dbt's profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError
from cdpsync.redact import remember
from cdpsync_connectors.snowflake.private_key import driver_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from cdpsync_connectors.snowflake.options import SnowflakeOptions

Keys = tuple[str, ...]

_KEY: Keys = ("private_key", "private_key_file")
_TOKEN: Keys = ("token", "token_file")
_OAUTH_CLIENT: Keys = ("oauth_client_id", "oauth_client_secret", "oauth_token_request_url")


@dataclass(frozen=True, slots=True)
class Method:
    """A way to log in: `needs` has groups of keys, of each of which exactly one is given.

    `authenticator` is the driver's; empty: it needs none.
    """

    authenticator: str
    needs: tuple[Keys, ...]
    optional: Keys = ()

    @property
    def keys(self) -> set[str]:
        """All keys that go with this method."""
        return {"user", *self.optional, *(key for group in self.needs for key in group)}


_USER: Keys = ("user",)
_PASSWORD = Method("", (_USER, ("password",)), ("passcode",))
_KEY_PAIR = Method("", (_USER, _KEY), ("passphrase",))
_OKTA = Method("", (_USER, ("password",)))
METHODS = {
    "snowflake": _PASSWORD,
    "username_password_mfa": Method("username_password_mfa", (_USER, ("password",)), ("passcode",)),
    "snowflake_jwt": _KEY_PAIR,
    "oauth": Method("oauth", (_TOKEN,)),
    "programmatic_access_token": Method("programmatic_access_token", (_TOKEN,)),
    "oauth_client_credentials": Method(
        "oauth_client_credentials", tuple((key,) for key in _OAUTH_CLIENT), ("oauth_scope",)
    ),
    "workload_identity": Method(
        "workload_identity",
        (("workload_identity_provider",),),
        ("workload_identity_entra_resource", "workload_identity_impersonation_path", *_TOKEN),
    ),
    "externalbrowser": Method("externalbrowser", (_USER,)),
}
"""The methods by the driver's name of the authenticator."""

# The key that tells the method where no authenticator is named, in this order.
_METHOD_OF_KEY = {
    "password": "snowflake",
    "private_key": "snowflake_jwt",
    "private_key_file": "snowflake_jwt",
    "workload_identity_provider": "workload_identity",
    "oauth_client_id": "oauth_client_credentials",
    "token": "oauth",
    "token_file": "oauth",
}
_KEYS = {key for method in METHODS.values() for key in method.keys} - {"user"}
_PERSONAL = {"externalbrowser", "username_password_mfa"}


def authenticator_of(value: str) -> str:
    """Return an authenticator in lower case, and the URL of an Okta as it is. Raises ValueError."""
    name = value.strip()
    if name.lower().startswith("https://"):
        return name
    if name.lower() not in METHODS:
        raise ValueError(
            f"write one of {', '.join(METHODS)}, or the URL of your Okta: https://myorg.okta.com"
        )
    return name.lower()


def require_one_method(given: set[str], authenticator: str | None, provider: str | None) -> None:
    """Raise ValueError unless the given keys are those of one way to log in."""
    keys = given & _KEYS
    named = {_METHOD_OF_KEY[key] for key in keys & set(_METHOD_OF_KEY)}
    if provider is not None:
        named.discard("oauth")  # the token is that of the workload
    if authenticator is None and len(named) != 1:
        found = [key for key in _METHOD_OF_KEY if key in keys]
        choice = f"not {' and '.join(found)}" if found else "none is given"
        raise ValueError(
            "give exactly one way to log in: password, private_key, private_key_file, token, "
            "oauth_client_id, workload_identity_provider or authenticator: externalbrowser; "
            f"{choice}"
        )
    method = _method(authenticator or next(iter(named)))
    _require_keys(keys, given, method, authenticator)
    if provider is not None:
        _require_workload(keys, provider)


def _method(authenticator: str) -> Method:
    return _OKTA if authenticator.startswith("https://") else METHODS[authenticator]


def _require_keys(
    keys: set[str], given: set[str], method: Method, authenticator: str | None
) -> None:
    way = f"authenticator: {authenticator}" if authenticator else _told_by(keys)
    if "passphrase" in keys and not keys & set(_KEY):
        raise ValueError("passphrase is set without a private key")
    for group in method.needs:
        found = [key for key in group if key in given]
        if len(found) > 1:
            raise ValueError(f"give {' or '.join(group)}, not both")
        if not found and group == _USER:
            raise ValueError(f"{way} needs a user")
        if not found:
            raise ValueError(f"{way} needs {' or '.join(group)}")
    unrelated = sorted(keys - method.keys)
    if unrelated:
        raise ValueError(f"{unrelated[0]} does not go with {way}: leave one of them out")


def _told_by(keys: set[str]) -> str:
    return next(key for key in _METHOD_OF_KEY if key in keys)


def _require_workload(keys: set[str], provider: str) -> None:
    has_token = bool(keys & set(_TOKEN))
    if provider == "oidc" and not has_token:
        raise ValueError("workload_identity_provider: oidc needs token or token_file")
    if provider != "oidc" and has_token:
        raise ValueError(
            f"workload_identity_provider: {provider} takes its token from the machine; a token is "
            "for oidc"
        )
    if provider != "azure" and "workload_identity_entra_resource" in keys:
        raise ValueError(
            "workload_identity_entra_resource is for workload_identity_provider: azure"
        )
    if provider == "oidc" and "workload_identity_impersonation_path" in keys:
        raise ValueError("workload_identity_impersonation_path is for aws, azure and gcp")


def is_personal(options: SnowflakeOptions) -> bool:
    """Whether a person answers at each login, or a passcode is valid for only one."""
    return options.passcode is not None or options.authenticator in _PERSONAL


def driver_keywords(options: SnowflakeOptions) -> dict[str, Any]:
    """Return the driver's keywords for the login; register each secret, so that it is hidden.

    Raises ConfigError for a key or a file that cannot be read.
    """
    keywords: dict[str, Any] = {}
    for name, secret in _secrets(options).items():
        keywords[name] = _revealed(secret.get_secret_value())
    if options.token_file is not None:
        keywords["token"] = _revealed(_file(options.token_file, "token_file").decode().strip())
    if options.private_key is not None or options.private_key_file is not None:
        keywords["private_key"] = _private_key(options)
    for name in (
        "oauth_client_id", "oauth_token_request_url", "oauth_scope",
        "workload_identity_entra_resource",
    ):  # fmt: skip
        keywords[name] = getattr(options, name)
    path = options.workload_identity_impersonation_path
    keywords["workload_identity_impersonation_path"] = None if path is None else list(path)
    provider = options.workload_identity_provider
    keywords["workload_identity_provider"] = None if provider is None else provider.upper()
    keywords["authenticator"] = _authenticator(options)
    return {name: value for name, value in keywords.items() if value is not None}


def _authenticator(options: SnowflakeOptions) -> str | None:
    """Return the driver's name of the method; None where it finds it out by the other keywords."""
    if options.authenticator is not None:
        name = options.authenticator
        return name if name.startswith("https://") else METHODS[name].authenticator or None
    if options.passcode is not None:
        return "username_password_mfa"
    name = next(name for key, name in _METHOD_OF_KEY.items() if getattr(options, key) is not None)
    return METHODS[name].authenticator or None


def _secrets(options: SnowflakeOptions) -> Mapping[str, SecretStr]:
    names = ("password", "passcode", "token", "oauth_client_secret")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _private_key(options: SnowflakeOptions) -> bytes:
    phrase = options.passphrase.get_secret_value() if options.passphrase else None
    remember(phrase)
    if options.private_key is not None:
        text = options.private_key.get_secret_value()
        remember(text)
        return driver_key(text.encode(), phrase, "private_key")
    file = str(options.private_key_file)
    return driver_key(_file(file, "private_key_file"), phrase, file)


def _file(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{key} {path} cannot be read ({reason}).") from error


def _revealed(secret: str) -> str:
    remember(secret)
    return secret
