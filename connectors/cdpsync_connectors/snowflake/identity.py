"""Which account and which default database the sessions of a source are in, as Snowflake says it.

A locator is an account's own name in its region and stays when the account is renamed
(https://docs.snowflake.com/en/user-guide/admin-account-identifier). Streams of the default database
do not have its name, so it is a part of the identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.model import SourceIdentity

if TYPE_CHECKING:
    from cdpsync_connectors.snowflake.catalog import Ask

_SESSION = """
    select current_region() as region, current_account() as locator,
        current_organization_name() as organization, current_account_name() as account,
        current_database() as "DATABASE"
"""


def fetch_source_identity(ask: Ask) -> SourceIdentity | None:
    """Return the identity of the account and the database; None where the server has none.

    Snowflake tells it to everybody. A server in its place, for tests, may lack the functions.
    """
    try:
        rows = ask(_SESSION)
    except ReadError:
        return None
    if not rows:
        return None
    row = rows[0]
    parts = {"account": (f"{row['REGION']}.{row['LOCATOR']}",)}
    label = f"Snowflake account {row['ORGANIZATION']}-{row['ACCOUNT']}"
    if row["DATABASE"] is not None:
        parts["database"] = (str(row["DATABASE"]),)
        label += f", database {row['DATABASE']}"
    return SourceIdentity(parts, label)
