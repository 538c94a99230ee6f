"""The options of a source that is a Singer tap."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from cdpsync_connectors._bridge.options import ProgramOptions, Requirement


class SingerOptions(ProgramOptions):
    """The keys of a source of `type: singer`: a package of PyPI, or a command of this machine."""

    package: Requirement | None = None

    @model_validator(mode="after")
    def _names_one_program(self) -> Self:
        if (self.package is None) is (self.command is None):
            raise ValueError(
                "give package, such as tap-github==4.0.0, or a command; one of the two"
            )
        given = {"with": self.with_, "python": self.python, "as_of": self.as_of}
        if self.command and any(given.values()):
            name = next(name for name, value in given.items() if value)
            raise ValueError(f"{name} is for a package; a command brings its own environment")
        return self
