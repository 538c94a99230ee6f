"""Which server an address leads to. Its databases need no identity: streams have their names.

MySQL gives each data directory a uuid (`server_uuid`, 5.6 and later). MariaDB makes one of a
network card and the port (`server_uid`, in releases since August 2024), which containers on two
machines may share, so the host's name is added. Both differ on a replica. So the address counts as
a name, too: after a failover behind it, the server is the same source. An address on this machine
does not, because a tunnel may lead anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.model import SourceIdentity
from cdpsync_connectors.mysql.connections import is_mariadb

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from cdpsync_connectors.mysql.options import Address

_VARIABLES = """
    show global variables where variable_name in ('hostname', 'server_uid', 'server_uuid')
"""
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def fetch_source_identity(con: Connection[Any], address: Address) -> SourceIdentity:
    """Return the identity of the server of a connection, which was opened to this address."""
    product = "MariaDB" if is_mariadb(con) else "MySQL"
    place = f"{address.host}:{address.port}"
    own_name = _own_name(con)
    if own_name is None:
        return SourceIdentity({"server": (place,)}, f"the {product} server at {place}")
    names = (own_name,) if address.host.lower() in _LOCAL else (own_name, place)
    return SourceIdentity({"server": names}, f"the {product} server {own_name} at {place}")


def _own_name(con: Connection[Any]) -> str | None:
    """Return what the server calls itself; None for one that has no such name."""
    with con.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = {str(name).lower(): str(value) for name, value in cursor.fetchall()}
    if "server_uid" in variables:
        return f"{variables.get('hostname', '')} {variables['server_uid']}".strip()
    return variables.get("server_uuid")
