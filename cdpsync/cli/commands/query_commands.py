r"""Commands of the prompt of `query` that are not SQL: `use shop;`, `\d`, `.tables`, `\?`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.cli.output import log
from cdpsync.errors import QueryError, suggest
from cdpsync.serialize.text import printable
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = r"""use shop;                 names without a schema are tables of shop; use lake; ends that
\d, \dt, .tables          list the tables
\d TABLE, .schema TABLE   its columns; .schema alone: those of every table
\q, .quit, Ctrl-D         leave
\?, .help                 this text
Everything else is SQL, up to a semicolon. Ctrl-C clears or cancels it."""
_HELP_WORDS = {"\\?", "\\h", ".help", "help", "?"}
_LIST_WORDS = {"\\d", "\\dt", "\\l", ".tables"}
_USE = re.compile(r'\s*use\s+(?:lake\.)?("(?:[^"]|"")+"|[^\s";]+)\s*;?\s*', re.IGNORECASE)
_DESCRIBE = re.compile(r"(\\d\+?|\.schema)(?:\s+(.+))?", re.DOTALL)
_NO_SCHEMA = {"lake", "main"}

_COLUMNS = """
    select schema_name || '.' || table_name as "table", column_name as "column", data_type as type,
        is_nullable as nullable
    from duckdb_columns()
    where database_name = 'lake' and {condition}
    order by schema_name, table_name, column_index
"""


def is_command(line: str) -> bool:
    """Whether a line is a command of the prompt, which needs no semicolon."""
    text = line.strip().rstrip(";").strip()
    return text.startswith("\\") or bool(re.match(r"\.[a-z]", text)) or text.lower() in _HELP_WORDS


@dataclass(slots=True)
class PromptCommands:
    """The commands of one prompt. `run` answers SQL, `tables` lists schemas and names of tables.

    `schema` is that of tables without one, since the last `use`.
    """

    run: Callable[[str, str | None], None]
    tables: Callable[[], list[tuple[str, str]]]
    schema: str | None = None

    def execute(self, statement: str) -> None:
        """Do what a command says, or answer SQL. Raises QueryError for an unknown command."""
        use = _USE.fullmatch(statement)
        if use is not None:
            self._use(use[1])
        elif is_command(statement):
            self._command(statement.strip().rstrip(";").strip())
        else:
            self.run(statement, self.schema)

    def _use(self, word: str) -> None:
        name = word[1:-1].replace('""', '"') if word.startswith('"') else word
        if name.lower() in _NO_SCHEMA:
            self.schema = None
            return
        schemas = sorted({schema for schema, _ in self.tables()} | {"cdpsync"})
        self.schema = next((known for known in schemas if known.lower() == name.lower()), None) or (
            _raise_unknown("schema", name, schemas)
        )
        log.info(f"tables without a schema are those of {self.schema}", event="prompt")

    def _command(self, text: str) -> None:
        if text.lower() in _HELP_WORDS:
            log.info(HELP, event="prompt")
        elif text in _LIST_WORDS:
            self.run("show tables", None)
        elif describe := _DESCRIBE.fullmatch(text):
            self.run(_COLUMNS.format(condition=self._condition(describe[2])), None)
        else:
            raise QueryError(f'"{printable(text)}" is not a command. \\? lists them.')

    def _condition(self, name: str | None) -> str:
        """Return which tables' columns are listed."""
        if name is None:
            return "schema_name <> 'cdpsync' and not internal"
        wanted = name.replace('"', "").lower()
        full_names = [f"{schema}.{table}" for schema, table in self.tables()]
        matches = [full for full in full_names if full.lower() == wanted]
        if not matches:
            matches = [full for full in full_names if full.partition(".")[2].lower() == wanted]
            own = [full for full in matches if full.partition(".")[0] == self.schema]
            matches = own or matches
        if wanted in {"cdpsync.runs", "cdpsync.cursors"}:
            matches = [wanted]
        if not matches:
            _raise_unknown("table", name, full_names)
        listed = ", ".join(map(quote_text, matches))
        return f"schema_name || '.' || table_name in ({listed})"


def _raise_unknown(kind: str, name: str, known: list[str]) -> str:
    near = suggest(name, known)
    hint = f" Did you mean {near}?" if near else ""
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    raise QueryError(f'there is no {kind} "{name}".{hint} There are: {listed or "none"}.')
