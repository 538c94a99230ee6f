"""Routes of a destination: what reads and composes the requests of changes, and of deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.parcels import ParcelReader
from cdpsync.destinations.delivery.requests import Composer, FindShape, Marks, RequestShape
from cdpsync.model.destinations import batch_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.destinations.delivery.journal import Settlements
    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.model.destinations import Destination


def composers(
    destination: Destination, routes: Mapping[str, RequestShape | FindShape], marks: Marks
) -> dict[tuple[str, str], Composer]:
    """Return what composes the requests of each route and step."""
    return {
        (route, step): Composer(
            shape,
            marks,
            idempotency=destination.idempotency,
            allowed=destination.allow_hosts,
            found=found,
        )
        for route, shapes in routes.items()
        for step, shape, found in _steps(shapes)
    }


def _steps(shapes: RequestShape | FindShape) -> list[tuple[str, RequestShape, str | None]]:
    """Return the steps of a route: prefix, shape, and the mark of the id that was found."""
    if isinstance(shapes, RequestShape):
        return [("", shapes, None)]
    return [
        ("find_", shapes.find, None),
        *([("create_", shapes.create, None)] if shapes.create else []),
        ("update_", shapes.update, shapes.mark),
    ]


def parcel_reader(
    destination: Destination,
    outbox: Outbox,
    routes: Mapping[str, RequestShape | FindShape],
    settlements: Settlements,
) -> ParcelReader:
    """Return the reader of the outbox, with the batches that the shapes ask for."""
    shapes = [(route, *step) for route, shapes in routes.items() for step in _steps(shapes)]
    batched = {route: shape for route, _, shape, _ in shapes if shape.around is not None}
    around = next((shape.around for shape in batched.values() if shape.around), ("", ""))
    batches = {
        route: batch for route in batched if (batch := batch_of(destination, route)) is not None
    }
    return ParcelReader(
        outbox,
        settlements,
        batches=batches,
        steps=tuple(dict.fromkeys(step for _, step, _, _ in shapes)),
        separator=next((shape.separator for shape in batched.values()), ","),
        wrapper=sum(len(text.encode()) for text in around),
    )
