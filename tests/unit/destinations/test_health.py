"""Health: tokens, states, probes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cdpsync.destinations.delivery import health as rules
from cdpsync.destinations.delivery.health import Permit
from cdpsync.model.deliveries import Health, HealthState

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def charged(health: Health, errors: int = 0, slowness: float = 0.0, at: datetime = NOW) -> Health:
    return rules.charge(health, errors=errors, slowness=slowness, now=at, reason="503")


@pytest.mark.parametrize(
    ("seconds", "tokens"), [(0.0, 0), (0.1, 0), (2.55, 10), (5.0, 20), (60.0, 20)]
)
def test_slow_answers_cost_up_to_twenty_tokens(seconds: float, tokens: float) -> None:
    """Nothing up to 0.1 s, then more with each second, until 5 s."""
    assert rules.slowness_cost(seconds) == pytest.approx(tokens)


def test_errors_degrade_at_eighty_percent() -> None:
    """Twenty errors of a full bucket, and the reason is kept."""
    assert charged(Health(), 19).state is HealthState.HEALTHY
    degraded = charged(Health(), 20)
    assert (degraded.state, degraded.reason) == (HealthState.DEGRADED, "503")
    assert rules.permit(degraded, NOW) is Permit.HALF


def test_errors_quarantine_below_zero() -> None:
    """Then nothing is sent."""
    assert charged(Health(), 100).state is HealthState.DEGRADED
    quarantined = charged(Health(), 101)
    assert quarantined.state is HealthState.QUARANTINED
    assert rules.permit(quarantined, NOW) is Permit.NOTHING


def test_slow_answers_alone_never_quarantine() -> None:
    """A destination that takes everything, slowly, is degraded at most."""
    health = Health()
    for _ in range(100):
        health = charged(health, slowness=2_000)
    assert health.state is HealthState.DEGRADED
    assert charged(health, 11).state is HealthState.QUARANTINED


def test_tokens_come_back_with_time() -> None:
    """Ten a second, up to a full bucket; also between two runs."""
    spent = charged(Health(), 50)
    later = charged(spent, at=NOW + timedelta(seconds=100))
    assert later.tokens == 6_000
    assert charged(spent, at=NOW + timedelta(hours=9)).tokens == rules.FULL


def test_clock_that_goes_back_takes_no_tokens() -> None:
    """The time between is then none."""
    spent = charged(Health(), 10)
    assert charged(spent, at=NOW - timedelta(days=1)).tokens == spent.tokens


def test_degraded_state_stays_for_a_minute() -> None:
    """So that it does not change with every answer."""
    degraded = charged(Health(), 20)
    assert charged(degraded, at=NOW + timedelta(seconds=59)).state is HealthState.DEGRADED
    healthy = charged(degraded, at=NOW + timedelta(seconds=61))
    assert (healthy.state, healthy.reason) == (HealthState.HEALTHY, None)


def test_probes_come_after_ten_twenty_and_forty_minutes() -> None:
    """The third that fails disables the destination, until a user enables it."""
    health, moment = charged(Health(), 200), NOW
    for minutes in (10, 20, 40):
        assert (
            rules.permit(health, moment + timedelta(minutes=minutes, seconds=-1)) is Permit.NOTHING
        )
        moment += timedelta(minutes=minutes)
        assert rules.permit(health, moment) is Permit.PROBE
        health = rules.probe_failed(health, moment, "503")
    assert health.state is HealthState.DISABLED
    assert rules.permit(health, moment + timedelta(days=9)) is Permit.NOTHING
    assert rules.permit(rules.enable(moment), moment) is Permit.ALL


def test_probe_that_is_taken_degrades() -> None:
    """With 80 % of the tokens; the probes are counted anew."""
    quarantined = rules.probe_failed(charged(Health(), 200), NOW, "503")
    passed = rules.probe_passed(quarantined, NOW)
    assert (passed.state, passed.tokens, passed.probes) == (HealthState.DEGRADED, 8_000, 0)


@pytest.mark.parametrize(
    "state", [HealthState.QUARANTINED, HealthState.DISABLED, HealthState.STALE]
)
def test_answers_do_not_change_a_stopped_destination(state: HealthState) -> None:
    """Requests that were under way when it stopped cost nothing more."""
    health = Health(state, 5.0, NOW)
    assert charged(health, 50) == health


def test_transition_is_told_once() -> None:
    """Only where the state differs."""
    before, after = Health(), charged(Health(), 101)
    moved = rules.transition(before, after, NOW)
    assert moved is not None
    assert (moved.before, moved.after) == (HealthState.HEALTHY, HealthState.QUARANTINED)
    assert rules.transition(after, charged(after, 5), NOW) is None
