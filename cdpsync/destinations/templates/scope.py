"""Everything that the expressions of one request see and share while it is compiled."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.destinations.templates.expressions import (
    Computed,
    Fault,
    add_column,
    compile_expression,
    compute,
    named,
)
from cdpsync.destinations.templates.filters import Typed
from cdpsync.destinations.templates.rows import RELATION, Binder, Names, Row
from cdpsync.errors import ConfigError
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.destinations.templates.texts import Expression
    from cdpsync.model.destinations import Body


@dataclass(slots=True)
class Marks:
    """Texts that stand for values that no statement and no file may have, until they are sent.

    A mark has a nonce of its own, so that no row can have it: the rows were there before. It has
    only letters, digits and `_`, which no encoding changes. The same templates compiled with the
    same nonce have the same marks.
    """

    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    constants: dict[str, str] = field(default_factory=dict, repr=False)

    def of(self, constant: str) -> str:
        """Return the mark of a value from outside at its place.

        Equal values have marks of their own: an outbox may wait while one of them is changed.
        """
        mark = f"cdpsync_{self.nonce}_{len(self.constants)}_"
        self.constants[mark] = constant
        return mark

    @property
    def found(self) -> str:
        """The mark of the id that `find` finds."""
        return f"cdpsync_{self.nonce}_found_"

    @property
    def items(self) -> str:
        """The mark of a batch's items."""
        return f"cdpsync_{self.nonce}_items_"


@dataclass(slots=True)
class Shared:
    """All that the scopes of one compilation share: computed columns, faults of rows, errors.

    `is_inline`: expressions are not computed in columns, because there is no SELECT to have them.
    """

    binder: Binder
    marks: Marks
    big_as_text: bool = False
    is_inline: bool = False
    columns: Computed = field(default_factory=Computed)
    faults: dict[Fault, None] = field(default_factory=dict)
    errors: dict[str, None] = field(default_factory=dict)

    def note(self, error: ConfigError) -> None:
        """Keep an error, to be raised with all others."""
        self.errors[error.message] = None

    def raise_errors(self) -> None:
        """Raise one ConfigError with a line for each error."""
        if self.errors:
            raise ConfigError("\n".join(self.errors))

    def fault(self, condition: str, message: str) -> None:
        """Tell of rows that they cannot be rendered, and why."""
        self.faults[Fault(condition, message)] = None


class Scope:
    """The names that the expressions of a text see.

    An input comes before a column of its name. But in an input's own expressions (`of_input`) a
    column comes first, because they are written for the row. `specials` are names that stand for a
    mark: `found`, `items`. `no_row`: why expressions may not name the row.
    """

    def __init__(
        self,
        shared: Shared,
        row: Row,
        inputs: Mapping[str, Body],
        specials: Mapping[str, str] | None = None,
        *,
        no_row: str | None = None,
        of_input: bool = False,
    ) -> None:
        """Begin without any input in use: each is compiled when an expression names it."""
        self.shared = shared
        self.specials = specials or {}
        self.names = Names(row, row.alias, no_row=no_row)
        self._row, self._no_row = row, no_row
        self._inputs = {
            fold_name(name): body
            for name, body in inputs.items()
            if not (of_input and self.names.knows(name))
        }

    def input(self, name: str | None) -> Input | None:
        """Return the input of a name, and the scope of its expressions."""
        folded = fold_name(name or "")
        if folded not in self._inputs:
            return None
        others = {other: body for other, body in self._inputs.items() if other != folded}
        scope = Scope(self.shared, self._row, others, no_row=self._no_row, of_input=True)
        return Input(self._inputs[folded], scope)

    def value(self, expression: Expression) -> Typed:
        """Return an expression as a name over `changes`; if it is wrong, note that and go on."""
        shared = self.shared
        try:
            self._use_inputs(expression)
            if shared.is_inline:
                return compile_expression(expression, self.names, shared.binder)
            value, faults = compute(expression, self.names, shared.binder, shared.columns)
        except ConfigError as error:
            shared.note(error)
            return Typed("null::varchar", shared.binder.type_of("null::varchar"))
        shared.faults.update(dict.fromkeys(faults))
        return value

    def _use_inputs(self, expression: Expression) -> None:
        """Make the inputs that an expression names into columns."""
        for name in [fold_name(name[0]) for name in named(expression, self.names.row.columns)]:
            if name in self.specials:
                raise expression.error(
                    f"{name} is known only when the request is sent, so it stands alone: "
                    f"{{{{ {name} }}}}"
                )
            used = self.input(name)
            if used is not None and name not in self.names.inputs:
                column = self._column(name, used, expression)
                self.names.inputs = {**self.names.inputs, name: (column, "v")}

    def _column(self, name: str, used: Input, expression: Expression) -> str:
        from cdpsync.destinations.templates.bodies import (  # they need each other
            has_constants,
            typed_sql,
        )

        if has_constants(used.body):
            raise expression.error(
                f"{name} has a value from outside (${{…}}), so it stands alone: {{{{ {name} }}}}"
            )
        binder = self.shared.binder
        sql = typed_sql(used.body, used.scope)
        column = add_column(Typed(sql, binder.type_of(sql)), binder, self.shared.columns)
        return column.removeprefix(f"{RELATION}.")


@dataclass(frozen=True, slots=True)
class Input:
    """A value of a preset's inputs, and the scope of its expressions."""

    body: Body
    scope: Scope
