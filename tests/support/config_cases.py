"""What the tests of the project file share: a connector's options, and one call that loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr, model_validator

from cdpsync.config import load_config
from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ConfigError, SourceConfigError
from cdpsync.model import Config, Source


class Tunnel(ConnectorOptions):
    """A section inside the options."""

    host: str
    key_text: SecretStr | None = None


class ShopOptions(ConnectorOptions):
    """As a database's connector has them."""

    url: SecretStr | None = None
    host: str | None = None
    port: int = 5432
    user: str | None = None
    password: SecretStr | None = None
    sslmode: Literal["prefer", "require"] = "prefer"
    schemas: tuple[str, ...] = ()
    ratio: float = 1.0
    compress: bool = False
    tunnel: Tunnel | None = None
    headers: dict[str, str] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> "ShopOptions":
        if self.url is None and self.host is None:
            raise ValueError("needs a url or a host")
        return self


def options_for(name: str) -> type[BaseModel]:
    """Know one type of source."""
    if name == "shop":
        return ShopOptions
    raise ConfigError(f'unknown source type "{name}". Did you mean "shop"? Installed: shop.')


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load a project file with this text."""
    file = folder / "cdpsync.yml"
    file.write_text(text)
    return opened(load_config(file, options_for=options_for, environ=environ or {}))


def opened(config: Config) -> Config:
    """Raise for a source that cannot be opened, as opening it does."""
    problems = [source.problem for source in config.sources.values() if source.problem]
    if problems:
        raise SourceConfigError(" ".join(problems))
    return config


def source(folder: Path, body: str, environ: Mapping[str, str] | None = None) -> Source:
    """Load a project of one source, `a`, whose keys these are."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"sources:\n  a:\n    type: shop\n    host: db\n{indented}"
    return load(folder, text, environ).sources["a"]
