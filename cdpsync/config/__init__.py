"""The project file: YAML in, a `Config` out, or one error that tells everything that is wrong.

A file becomes a tree of located values (`document`), its `${…}` are filled in (`interpolate`),
its secrets are made known (`hide`), and its sections are checked (`sections`, `validate`) and
built into the frozen values of `cdpsync.model` (`build`).
"""

from cdpsync.config.load import load_config
from cdpsync.config.schema import StorageSection

__all__ = ["StorageSection", "load_config"]
