"""Two manifests and a package of PyPI, installed once, against a local service."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import commands
from support.stub_api import Service, service
from support.tls import certificate

from cdpsync import project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(1200)  # the packages come over the network

PYTHON = f"3.{min(sys.version_info.minor, 12)}"  # airbyte-source-faker does not start on 3.13
ANSWERS = {
    "/v1/campaigns": {"campaigns": [{"id": n, "name": f"c{n}", "tags": ["a"]} for n in (1, 2)]},
    "/v3/REST/contactslist": {
        "Count": 2,
        "Total": 2,
        "Data": [{"ID": n, "Name": f"l{n}", "SubscriberCount": n} for n in (5, 6)],
    },
}


class Connectors:
    """A project with the three of them, whose requests a proxy answers."""

    def __init__(self, folder: Path, server: Service, crt: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "HTTPS_PROXY": server.url,
            "REQUESTS_CA_BUNDLE": str(crt),
            "NO_PROXY": "",
        }
        start = 1735689600
        document = {
            "fake": {
                "package": "airbyte-source-faker",
                "config": {"count": 30, "seed": 1, "parallelism": 1, "records_per_slice": 10},
                "tables": {"users": {"mode": "incremental"}, "products": {}},
            },
            "cio": {
                "manifest": "airbyte-source-customer-io==0.2.15",
                "config": {"app_api_key": "Key-012345"},
                "tables": {"campaigns": {}},
            },
            "mail": {
                "manifest": "airbyte-source-mailjet-mail==0.1.16",
                "config": {"api_key": "Key-0", "api_key_secret": "Key-1", "start_date": start},
                "tables": {"contactslist": {}},
            },
        }
        common = {"type": "airbyte", "python": PYTHON}
        sources = {name: common | source for name, source in document.items()}
        (folder / "cdpsync.yml").write_text(yaml.safe_dump({"sources": sources}))

    def run(self) -> dict[str, Any]:
        done = commands.run("run", "-o", "json", cwd=self.folder, env=self.env)
        assert done.returncode == 0, done.stderr
        return {table["table"]: table for table in json.loads(done.stdout)["tables"]}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with project.catalog_of(project.load(self.folder / "cdpsync.yml")).reader() as con:
            return con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def connectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connectors]:
    """The project, after `cdpsync install`: both manifests share the environment of the CDK."""
    folder = tmp_path_factory.mktemp("connectors")
    files = certificate(tmp_path_factory.mktemp("tls"), "api.customer.io", "api.mailjet.com")
    with service(ANSWERS, files) as server:
        connectors = Connectors(folder, server, files[0])
        done = commands.run("install", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "Elastic License" in done.stderr
        environments = folder / ".cdpsync/shared/environments"
        assert len([path for path in environments.iterdir() if path.is_dir()]) == 2
        yield connectors


def test_real_connectors_are_read(connectors: Connectors) -> None:
    """Rows of both manifests and of the package; the package goes on from its state."""
    first = connectors.run()
    inserted = {name: table["rows_inserted"] for name, table in first.items()}
    assert inserted == {
        "fake.users": 30,
        "fake.products": 30,
        "cio.campaigns": 2,
        "mail.contactslist": 2,
    }
    assert connectors.query("select id, name from lake.cio.campaigns order by 1")[1] == (2, "c2")
    assert connectors.query('select "ID" from lake.mail.contactslist order by 1') == [(5,), (6,)]
    second = connectors.run()
    assert second["fake.users"]["rows_inserted"] == 0
    assert second["fake.users"]["cursor_before"] == first["fake.users"]["cursor_after"]
