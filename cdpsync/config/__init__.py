"""The project file: YAML in, a `Config` out, or one error with a line for each problem.

A file becomes a tree of nodes that know their line (`document`), and its `${…}` are filled in
(`interpolate`). `redact` learns its secrets (`secrets`). Its sections are checked (`schema`,
`validate`) and built into the frozen values of `cdpsync.model` (`build`).
"""

from cdpsync.config.load import load_config
from cdpsync.config.schema import StorageSection

__all__ = ["StorageSection", "load_config"]
