"""Whether a destination may be sent to now, and the result of one that may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.supervisor import Supervisor
from cdpsync.errors import CdpsyncError, ConfigError, DeliveryError
from cdpsync.model import Failure
from cdpsync.model.deliveries import DeliveryResult, Health, HealthState
from cdpsync.redact import redact
from cdpsync.system import clock

if TYPE_CHECKING:
    from cdpsync.model.destinations import Destination


def require_sendable(destination: Destination) -> None:
    """Raise ConfigError for a destination whose values are missing, or that is switched off."""
    if destination.problem:
        raise ConfigError(destination.problem)
    if not destination.enabled:
        raise ConfigError(
            f'{destination.location}: destination "{destination.name}" has enabled: false.'
        )


def require_health(destination: Destination, health: Health) -> None:
    """Raise DeliveryError for a destination whose health lets nothing be sent now."""
    supervisor = Supervisor(destination.name, health)
    supervisor.begin(clock.now())
    if supervisor.stop is not None:
        raise DeliveryError(supervisor.stop.message)


def failed(
    destination: Destination, error: Exception, state: HealthState | None = None
) -> DeliveryResult:
    """Return the result of a destination whose send ended with an error."""
    message = error.message if isinstance(error, CdpsyncError) else _defect(error)
    return DeliveryResult(
        destination.name,
        destination.source,
        "failed",
        state,
        error=Failure(type(error).__name__, message),
    )


def _defect(error: Exception) -> str:
    text = redact(f"{type(error).__name__}: {error}".splitlines()[0])
    return f"this is a bug in cdpsync, please report it: {text}. Run it again with -v to see where."
