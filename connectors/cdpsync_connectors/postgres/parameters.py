"""libpq's parameters of a source: those of its URL, and those that must be ours.

Frameworks put parameters of their own into a URL. Two of them have a meaning here, `pgbouncer` and
`schema`; any other that libpq does not know is an error that names what to write in its place.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cdpsync.errors import ConfigError, ConnectorError
from cdpsync.redact import remember

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

# A name that a session begins with stays on a pooler's connection (observed with pgbouncer 1.18),
# so our name is a setting of each transaction. It is empty here because libpq would send PGAPPNAME.
_OURS = {"client_encoding": "UTF8", "application_name": ""}
_NEVER_PASSED = ("fallback_application_name", "replication")
_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "6"}

_REMOVE = "Leave it out, because it has no meaning here"
_CONNECTIONS = "Leave it out, and set max_connections on the source"
_SSL = "Write sslmode=require"
_SCHEMA = "Leave it out, and set schemas and default_schema on the source"
_REPLACEMENTS = {
    "connection_limit": _CONNECTIONS,
    "pool_size": _CONNECTIONS,
    "max_pool_size": _CONNECTIONS,
    "max_overflow": _CONNECTIONS,
    "pool_max_conns": _CONNECTIONS,
    "maxpoolsize": _CONNECTIONS,
    "pool_timeout": _REMOVE,
    "prepared_statements": _REMOVE,
    "prepared_statement_cache_size": _REMOVE,
    "statement_cache_size": _REMOVE,
    "preparethreshold": _REMOVE,
    "prepare_threshold": _REMOVE,
    "binary_parameters": _REMOVE,
    "default_query_exec_mode": _REMOVE,
    "socket_timeout": "Leave it out, and set statement_timeout on the source",
    "sockettimeout": "Leave it out, and set statement_timeout on the source",
    "statement_timeout": "Leave it out, and set statement_timeout on the source",
    "lock_timeout": "Leave it out, and set lock_timeout on the source",
    "connecttimeout": "Write connect_timeout, or set it on the source",
    "currentschema": _SCHEMA,
    "search_path": _SCHEMA,
    "ssl": _SSL,
    "sslaccept": _SSL,
    "use_ssl": _SSL,
    "tls": _SSL,
}


_CONNECT_TIMEOUT = "10"  # seconds; libpq would wait without end
_PARAMETER = re.compile(r'(?:URI query parameter:|invalid connection option) "(\w{1,40})"')


def split_framework_parameters(url: str) -> tuple[str, str | None]:
    """Return a URL without `pgbouncer` and `schema`, and the value of `schema`, if it has one.

    `pgbouncer=true` says that a pooler stands before the server, and asks for what always holds
    here: nothing is prepared, and no setting outlives a transaction.
    """
    address, question_mark, query = url.partition("?")
    if not question_mark or not re.match(r"postgres(ql)?://", url):
        return url, None
    kept: list[str] = []
    schema = None
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == "schema":
            schema = unquote(value) or None
        elif name != "pgbouncer":
            kept.append(parameter)
    return (f"{address}?{'&'.join(kept)}" if kept else address), schema


def libpq_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a connection; a URL or a keyword string is under the key `url`.

    Raises ConfigError for what libpq cannot read. What must be ours wins over all of it.
    """
    psycopg = load_driver()
    from psycopg.conninfo import conninfo_to_dict

    keywords = {key: value for key, value in given.items() if key != "url"}
    try:
        in_url = conninfo_to_dict(given.get("url", ""))
    except psycopg.Error as error:
        raise _unreadable(str(error)) from None
    parsed = {key: str(value) for key, value in in_url.items() if value is not None}
    for name in _NEVER_PASSED:
        parsed.pop(name, None)
    defaults = {"connect_timeout": os.environ.get("PGCONNECT_TIMEOUT", _CONNECT_TIMEOUT)}
    parsed = {**_KEEPALIVES, **defaults, **parsed, **keywords, **_OURS}
    if "sslrootcert" in parsed:  # without sslmode, libpq would ignore it
        parsed.setdefault("sslmode", os.environ.get("PGSSLMODE", "verify-full"))
    remember(parsed.get("password"))
    remember(parsed.get("sslpassword"))
    return parsed


def load_driver() -> ModuleType:
    """Return psycopg. Raises ConnectorError where it is not installed."""
    try:
        import psycopg
    except ImportError as error:
        raise ConnectorError(
            "reading Postgres needs its driver. Install it: pip install 'cdpsync[postgres]'"
        ) from error
    return psycopg


def _unreadable(message: str) -> ConfigError:
    """Return the error for a URL that libpq cannot read.

    libpq's message may repeat a part of the password, so only a parameter's name is taken from it.
    """
    unknown = _PARAMETER.search(message)
    if unknown is None:
        return ConfigError(
            "the url is not an address of a Postgres database. Write postgresql://user:password@host:5432/"
            "database, with special characters in user and password percent-encoded."
        )
    name = unknown[1]
    advice = _REPLACEMENTS.get(name.lower(), "Leave it out, or write one that libpq knows")
    return ConfigError(f'the url has a parameter "{name}", which Postgres does not know. {advice}.')
