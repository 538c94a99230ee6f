"""The options of a source that is a connector of Airbyte."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from cdpsync_connectors._bridge.options import ProgramOptions, Requirement


class AirbyteOptions(ProgramOptions):
    """The keys of a source of `type: airbyte`.

    `manifest` is a YAML file, an address of one, or a package that has one. With `custom_code` the
    Python files of that package run, too. `command` is a connector that is there already.
    """

    package: Requirement | None = None
    manifest: str | None = Field(default=None, min_length=1)
    custom_code: bool = False
    cdk: Annotated[str, Field(pattern=r"^[\d.,<>=!~ ]+$")] = ">=7.39,<8"

    @property
    def manifest_kind(self) -> str:
        """Where the manifest is: `file`, `url` or `package`; empty without one."""
        if self.manifest is None:
            return ""
        if re.match(r"https?://", self.manifest):
            return "url"
        is_file = self.manifest.endswith((".yaml", ".yml"))
        return "file" if is_file or "/" in self.manifest else "package"

    @model_validator(mode="after")
    def _names_one_program(self) -> Self:
        if sum(name is not None for name in (self.package, self.manifest, self.command)) != 1:
            raise ValueError(
                "give a manifest (a package such as airbyte-source-mailjet-mail, ./file.yaml or "
                "https://…), a package that is a program, or a command; one of them"
            )
        if self.manifest and self.manifest.startswith("http://"):
            raise ValueError("the manifest must come by https, because it is a program")
        if self.manifest_kind == "package" and not re.match(
            r"^[\w.-]+\s*([<>=!~]\S+)?$", self.manifest or ""
        ):
            raise ValueError(f'"{self.manifest}" is neither a package, nor a file, nor an address')
        if self.custom_code and self.manifest_kind != "package":
            raise ValueError("custom_code is for a manifest that is a package")
        return self
