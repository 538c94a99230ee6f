"""Whether packages of PyPI that sources run install and start, on each Python at hand.

For `make bridges`, by night: it takes half an hour and some gigabytes. It ends with 1 if a package
that is known to start on a Python does not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from cdpsync.connector import SourcePlace
from cdpsync.errors import ConfigError
from cdpsync_connectors._bridge.environments import Environment, Wanted
from cdpsync_connectors._bridge.pythons import pythons

PACKAGES: dict[str, tuple[str, ...]] = {
    "meltanolabs-tap-github==1.30.1": (),
    "tap-github==4.0.0": (),
    "tap-salesforce==2.8.1": (),
    "tap-zendesk==2.8.2": (),
    "tap-chargebee==1.7.1": (),
    "tap-intercom==2.2.5": (),
    "tap-klaviyo==1.1.5": (),
    "tap-shopify==3.13.0": (),
    "tap-xero==2.6.0": ("six",),
    "meltano-tap-hubspot==0.10.1": (),
    "airbyte-cdk==7.39.0": (),
    "airbyte-source-github==2.7.1": (),
}
SCRIPTS = {"airbyte-cdk==7.39.0": "source-declarative-manifest"}
VERSIONS = ("3.11", "3.12", "3.13")
NOT_EXPECTED: set[tuple[str, str]] = set()
"""Pairs of package and Python that are known not to start."""


def result_of(package: str, version: str, folder: Path) -> str:
    """Install a package in an environment of its own, and return what came of it."""
    place = SourcePlace("nightly", folder, folder / "state", folder / "shared")
    wanted = Wanted(package, PACKAGES[package], version, None, SCRIPTS.get(package, ""))
    try:
        done = Environment(place, wanted).install(upgrade=False)
    except ConfigError as error:
        return error.message
    return f"starts ({done.packages} packages)"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="a part of the names")
    options = parser.parse_args()
    failed = False
    for version in VERSIONS:
        try:
            pythons(version)
        except ConfigError:
            print(f"Python {version}: not at hand")
            continue
        for package in PACKAGES:
            if options.only not in package:
                continue
            folder = Path(tempfile.mkdtemp(prefix="bridges-"))
            result = result_of(package, version, folder)
            shutil.rmtree(folder, ignore_errors=True)
            failed |= "starts" not in result and (package, version) not in NOT_EXPECTED
            print(f"Python {version}: {package}: {result}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
