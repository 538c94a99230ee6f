"""Manifests: a type by its file's name, shown, copied, edited; each typing error has its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import commands
from support.api_reading import read, source
from support.api_server import ApiRequest, ApiServer, Reply, serving

from cdpsync.connector import registry
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = """\
about: "Example: orders."
docs: https://example.com/docs
needs:
  token: {secret: true, about: "Settings, API keys"}
  region: {default: eu}
  regions: {list: true, default: eu}
  since: {optional: true}
client:
  base_url: https://${region}.example.com/v1
  auth: {type: bearer, token: "${token}"}
resources:
  regions: {items: "${regions}"}
  orders:
    path: "{parent.value}/orders"
    parent: {resource: regions, fields: {region: value}}
    params: {since: "${since}", label: "from ${since}", limit: 2}
    primary_key: [id]
    types: {id: bigint}
"""


@pytest.fixture
def api() -> Iterator[ApiServer]:
    def orders(request: ApiRequest) -> Any:
        if request.headers["Authorization"] != "Bearer sesame-1":
            return Reply({"message": "no"}, 401)
        return [{"id": len(request.parts[0]), "asked": dict(request.query)}]

    with serving(ApiServer({r"GET /(\w+)/orders": orders})) as server:
        yield server


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "manifests/example.yml"
    file.parent.mkdir()
    file.write_text(MANIFEST)
    return file


def typed(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*words, cwd=folder, env={"HOME": str(folder), **environment})


def project(manifest: Path, **keys: Any) -> Path:
    file = manifest.parent.parent / "cdpsync.yml"
    lines = "".join(f"    {name}: {value}\n" for name, value in keys.items())
    file.write_text(f"sources:\n  shop:\n    type: example\n{lines}")
    return file


def test_values_are_put_in(manifest: Path, api: ApiServer) -> None:
    """Texts, lists and secrets; a parameter whose value is not given is left out."""
    own = source(str(manifest), token="sesame-1", base_url=api.url, regions=["a", "bcd"])
    rows = sorted(read(own, "orders"), key=lambda row: row["id"])
    assert [(row["id"], row["region"]) for row in rows] == [(1, "a"), (3, "bcd")]
    assert rows[0]["asked"] == '{"label":"from ","limit":"2"}'
    assert [stream.name for stream in own.discover()] == ["orders"]


def test_a_project_uses_it_by_its_name(manifest: Path, api: ApiServer) -> None:
    file = project(manifest, token="${TOKEN}", base_url=api.url)
    folder = file.parent
    assert typed(folder, "run", TOKEN="sesame-1").returncode == 0
    assert '"id": 2' in typed(folder, "query", "-o", "json", "from shop.orders").stdout
    assert "example" in typed(folder, "sources", "types").stdout
    assert typed(folder, "sources", "show", "example").stdout == MANIFEST
    assert "github" in typed(folder, "sources", "show", "github").stdout
    refused = typed(folder, "sources", "show", "postgres")
    assert refused.returncode == 2
    assert '"postgres" is no manifest but code' in refused.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("params:", "parms:", '13: resources.orders: unknown key "parms". Did you mean "params"?'),
        ("resource: regions", "resource: region", 'parent "region" is no resource'),
        ("${token}", "${tokn}", '${tokn} is not among its needs:. Did you mean "token"?'),
        ("type: bearer", "type: beaer", 'unknown type "beaer". Did you mean "bearer"?'),
        ("base_url: https", "base_url: ftp", "9: client.base_url: write https://host"),
        ("base_url: https", "base_url: http", "9: client.base_url: must be https"),
        ("list: true", "lst: true", '6: needs.regions: unknown key "lst". Did you mean "list"?'),
        ("id: bigint", "id: bigin", "resources.orders.types"),
        ("client:", "client: [", "not YAML"),
        ("resources:", "resource:", 'unknown key "resource". Did you mean "resources"?'),
    ],
)
def test_a_typing_error_has_its_line(manifest: Path, old: str, new: str, message: str) -> None:
    text = MANIFEST.replace(old, new, 1)
    assert text != MANIFEST
    manifest.write_text(text)
    with pytest.raises(ConfigError) as raised:
        registry.options_for(str(manifest))
    assert message in raised.value.message
    assert raised.value.message.startswith(str(manifest))
    assert "\n" not in raised.value.message


def test_what_a_user_leaves_out_or_misspells_is_told(manifest: Path) -> None:
    project(manifest, regio="eu")
    stderr = typed(manifest.parent.parent, "discover", "shop").stderr
    assert 'source "shop": "token" is missing. Add it.' in stderr
    assert 'unknown key "regio". Did you mean "region"?' in stderr


def test_every_manifest_of_ours_is_whole() -> None:
    """It says what it is, cites its documentation, and its resources have keys."""
    assert registry.manifests()
    for name, file in registry.manifests().items():
        text = file.read_text()
        assert "https://" in text.partition("needs:")[0], name
        assert registry.options_for(name).model_fields
