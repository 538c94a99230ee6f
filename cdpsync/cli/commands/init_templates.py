"""Templates of the files that `init` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = """\
# A cdpsync project: where the lake is, and which sources it has.
# Secrets stay outside: ${VAR} is taken from the environment or from the file .env beside this
# one, ${file:/path} from a file.

warehouse:
  path: ./warehouse            # a folder, or s3://bucket/prefix, r2://…, gs://…

sources:
"""

POSTGRES = """\
  shop:                        # your name for it: the tables become shop.orders, …
    type: postgres
    url: ${SHOP_DATABASE_URL}
    every: 1h                  # for `cdpsync run --due`, from cron
    # Without tables: every table is read, each run, every row (mode: full_table).
    # `cdpsync discover shop --write` adds them, with a mode for each. By hand:
    # tables:
    #   public.orders: {mode: incremental, cursor_field: updated_at, lookback: 10m}
    #   public.events: {mode: append_only, cursor_field: id}
    #   "audit.*": {enabled: false}
"""

MYSQL = """\
  shop:                        # your name for it: the tables become shop.orders, …
    type: mysql
    url: ${SHOP_DATABASE_URL}
    every: 1h                  # for `cdpsync run --due`, from cron
    # zero_dates: "null"       # 0000-00-00 is NULL; without this, an error that names the column
    # Without tables: every table is read, each run, every row (mode: full_table).
    # `cdpsync discover shop --write` adds them. By hand, by database and table:
    # tables:
    #   shop.orders: {mode: incremental, cursor_field: updated_at, lookback: 10m}
    #   shop.events: {mode: append_only, cursor_field: id}
"""

FILES = """\
  inbox:                       # your name for it: the tables become inbox.orders, …
    type: files
    path: ./data               # a folder of CSV, JSON Lines or Parquet files
    every: 1h                  # for `cdpsync run --due`, from cron
    # `cdpsync discover inbox` lists the tables.
"""

OTHER = """\
  {name}:                      # your name for it: it is the schema of its tables
    type: {type}
    every: 1h                  # for `cdpsync run --due`, from cron
    # The options of this type come here; `cdpsync check` names those that are missing.
"""

IGNORED = (".cdpsync/", "warehouse/", ".env")

GITIGNORE = "# The lake and its catalog are built again by a run; .env holds secrets.\n"

ENVIRONMENT = """\
# Copy to .env, beside cdpsync.yml, and fill in. Every command reads it; the environment wins.
"""

URLS = {
    "postgres": "SHOP_DATABASE_URL=postgresql://user:password@localhost:5432/shop\n",
    "mysql": "SHOP_DATABASE_URL=mysql://user:password@localhost:3306/shop\n",
}


MANIFEST = """\
  {name}:                      # your name for it: it is the schema of its tables
    type: {type}{about}
    every: 1h                  # for `cdpsync run --due`, from cron
{needs}    # `cdpsync discover {name}` lists the tables.
"""


def starter(source_type: str, manifest: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the starter's files: name to content. `manifest` is that of a type which has one."""
    section = {"postgres": POSTGRES, "mysql": MYSQL, "files": FILES}.get(source_type)
    environment = ENVIRONMENT + URLS.get(source_type, "")
    if manifest is not None:
        section, variables = _of_manifest(source_type, manifest)
        environment += variables
    elif section is None:
        section = OTHER.format(name=_name(source_type), type=source_type)
    return {
        "cdpsync.yml": PROJECT + section,
        ".gitignore": GITIGNORE + "".join(f"{line}\n" for line in IGNORED),
        ".env.example": environment,
    }


def _of_manifest(source_type: str, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return the section of an API's source, and the variables that it takes from outside.

    What may be left out is a comment.
    """
    name, lines, variables = _name(source_type), [], ""
    for key, need in (manifest.get("needs") or {}).items():
        details = need or {}
        default = details.get("default")
        variable = f"{name}_{key}".upper()
        may_miss = default is not None or bool(details.get("optional"))
        value = f"${{{variable}}}" if default is None else str(default)
        about = details.get("about")
        begin = f"    {'# ' if may_miss else ''}{key}: {value}"
        lines.append(f"{begin}   # {about}\n" if about else f"{begin}\n")
        if not may_miss:
            variables += f"{variable}=\n"
    about = manifest.get("about")
    section = MANIFEST.format(
        name=name,
        type=source_type,
        about=f"              # {about}" if about else "",
        needs="".join(lines),
    )
    return section, variables


def _name(source_type: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in source_type)
