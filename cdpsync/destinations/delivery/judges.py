"""The judges of a destination: one for its answers, and one for those of each search."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cdpsync.destinations.delivery.answers import Judge
from cdpsync.destinations.delivery.requests import FindShape, Parcel
from cdpsync.model.destinations import AnswerRules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from cdpsync.destinations.delivery.answers import Verdict
    from cdpsync.destinations.delivery.connections import HttpAnswer
    from cdpsync.destinations.delivery.requests import RequestShape
    from cdpsync.model.destinations import Destination


def finders(
    destination: Destination, routes: Mapping[str, RequestShape | FindShape]
) -> dict[str, Judge]:
    """Return what judges the answers of searches, by route."""
    rules = AnswerRules(retry_after=destination.answers.retry_after)
    return {
        route: Judge(rules, destination.location, shape.id)
        for route, shape in routes.items()
        if isinstance(shape, FindShape)
    }


class Judges:
    """Judges answers by the step of their parcel."""

    def __init__(
        self, destination: Destination, routes: Mapping[str, RequestShape | FindShape]
    ) -> None:
        """Bind the rules; raise ConfigError if one of them is wrong."""
        self._judge = Judge(destination.answers, destination.location)
        self._of_searches = finders(destination, routes)

    @property
    def reads_answers(self) -> bool:
        """Whether a rule looks into the bodies of answers."""
        return self._judge.reads_answers or bool(self._of_searches)

    def first_step(self, route: str) -> str:
        """Return the prefix of the first request of a route: a search, where it has one."""
        return "find_" if route in self._of_searches else ""

    def judged(
        self, arrived: Sequence[tuple[object, HttpAnswer]], now: datetime
    ) -> Iterator[tuple[Parcel, HttpAnswer, Verdict]]:
        """Yield parcels with their answers and verdicts."""
        pairs = cast("Sequence[tuple[Parcel, HttpAnswer]]", arrived)
        if self._of_searches:
            for parcel, answer in pairs:
                is_search = parcel.step == "find_"
                judge = self._of_searches[parcel.route] if is_search else self._judge
                yield parcel, answer, judge.judge([answer], now)[0]
            return
        verdicts = self._judge.judge([answer for _, answer in pairs], now)
        for (parcel, answer), verdict in zip(pairs, verdicts, strict=True):
            yield parcel, answer, verdict

    def close(self) -> None:
        """Close the connections of the rules."""
        for judge in (self._judge, *self._of_searches.values()):
            judge.close()
