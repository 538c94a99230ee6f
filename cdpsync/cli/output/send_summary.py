"""Log lines on stderr about the result of each destination and of a send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.cli.output import log
from cdpsync.serialize.text import plural, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model.deliveries import DeliveryResult


def log_delivery(result: DeliveryResult) -> None:
    """Log what came of one destination: its notices, its counts, its error."""
    for notice in result.notices:
        log.warn(f"{result.destination}: {notice}", event="notice", destination=result.destination)
    fields: dict[str, Any] = {  # Any: the keywords of a log line
        "event": "destination",
        "destination": result.destination,
        "status": result.status,
        "state": result.state and result.state.value,
        "succeeded": result.succeeded,
        "held": result.held,
        "dead": result.dead,
    }
    if result.error is not None:
        log.error(f"{result.destination}: {result.error.message}", **fields)
    elif result.triggered or result.succeeded or result.held or result.dead:
        message = f"{result.destination}  {result.status}  {result.succeeded:,} delivered"
        message += "".join(
            f"  {getattr(result, name):,} {name}"
            for name in ("held", "dead", "filtered", "masked")
            if getattr(result, name)
        )
        log.info(f"{message}  {seconds(result.seconds)}", **fields)


def log_deliveries(results: Sequence[DeliveryResult]) -> None:
    """Log what came of all destinations, in one line."""
    sent = [result for result in results if result.status != "skipped"]
    failed = [result.destination for result in sent if result.status == "failed"]
    delivered = sum(result.succeeded for result in sent)
    if not sent:
        log.info("no destination is due", event="skipped", destinations=len(results))
        return
    what = f"{plural(delivered, 'change')} delivered" if delivered else "nothing to send"
    if delivered or not failed:
        message = f"{what} to {plural(len(sent), 'destination')}"
        log.info(message, event="send", delivered=delivered)
    if failed:
        message = f"{len(failed):,} of {plural(len(sent), 'destination')} failed: "
        log.error(message + ", ".join(failed), event="failed", destinations=failed)
