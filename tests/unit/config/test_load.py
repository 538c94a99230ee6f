"""A good project file, and what becomes of it."""

import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from subprocess import run

import pytest
from support.config_cases import load, options_for, source

from cdpsync.config import StorageSection, load_config
from cdpsync.config.schema import DefaultsSection, TableSection
from cdpsync.errors import ConfigError
from cdpsync.model import SyncMode, TableOptions

MINIMAL = "sources:\n  shop: {type: shop, host: db}\n"


def test_everything_has_a_default_but_the_source(tmp_path):
    """A project needs no warehouse section: the lake lies beside the file."""
    config = load(tmp_path, MINIMAL)
    assert config.warehouse.path == str(tmp_path / "warehouse")
    assert config.warehouse.catalog == tmp_path / ".cdpsync" / "catalog.ducklake"
    assert config.warehouse.state == tmp_path / ".cdpsync" / "state.json"
    assert config.warehouse.storage is None
    assert config.files == (tmp_path / "cdpsync.yml",)
    shop = config.sources["shop"]
    assert (shop.every, shop.defaults, shop.tables) == (None, TableOptions(), ())


@pytest.mark.parametrize("name", ["cdpsync.yml", "cdpsync.yaml"])
def test_current_folder_is_the_default(tmp_path, monkeypatch, name):
    """Without -c, cdpsync.yml or cdpsync.yaml of the current folder is read."""
    (tmp_path / name).write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    config = load_config(options_for=options_for, environ={})
    assert config.sources["shop"].location == f"{name}:2"
    assert config.warehouse.path == str(Path.cwd() / "warehouse")


def test_environment_of_the_process_is_the_default(tmp_path, monkeypatch):
    """`${VAR}` means the process's own environment, unless another is given."""
    monkeypatch.setenv("CDPSYNC_TEST_HOST", "db.example.com")
    file = tmp_path / "a.yml"
    file.write_text("sources:\n  shop: {type: shop, host: '${CDPSYNC_TEST_HOST}'}\n")
    config = load_config(str(file), options_for=options_for)
    assert config.sources["shop"].options.host == "db.example.com"


@pytest.mark.parametrize("url", ["s3://lake/raw/", "r2://lake", "gs://lake/a/b"])
def test_bucket_urls_stay_as_they_are(tmp_path, url):
    """Nothing is added to a bucket's URL or taken from it."""
    assert load(tmp_path, f"warehouse: {{path: '{url}'}}").warehouse.path == url


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("./lake", "{folder}/lake"),
        ("lake/", "{folder}/lake"),
        ("../lake", "{parent}/lake"),
        ("/data/lake", "/data/lake"),
        ("file:///data/a%20lake", "/data/a lake"),
        ("~/lake", "{home}/lake"),
    ],
)
def test_folders_are_relative_to_their_file(tmp_path, written, meant):
    """A path means the same whatever the current folder is."""
    path = load(tmp_path, f"warehouse: {{path: '{written}'}}").warehouse.path
    assert path == meant.format(folder=tmp_path, parent=tmp_path.parent.resolve(), home=Path.home())


def test_catalog_and_state_are_relative_to_their_file(tmp_path):
    """The catalog and the state file can be put elsewhere."""
    config = load(tmp_path, "warehouse: {path: s3://lake, catalog: c/lake.db, state: /s.json}")
    assert config.warehouse.catalog == tmp_path / "c" / "lake.db"
    assert config.warehouse.state == Path("/s.json")
    assert config.warehouse.location == f"{tmp_path / 'cdpsync.yml'}:1"


def test_empty_storage_values_count_as_absent(tmp_path):
    """`${S3_ENDPOINT:-}` leaves the usual endpoint in place."""
    text = (
        "warehouse:\n  path: s3://lake\n  storage:\n    endpoint: ${S3_ENDPOINT:-}\n"
        "    secret_access_key: ${KEY:-}\n    region: eu-west-1\n"
    )
    assert load(tmp_path, text).warehouse.storage == StorageSection(region="eu-west-1")


def test_folder_merges_its_files(tmp_path):
    """A project may be a folder; each file's paths are relative to that file."""
    (tmp_path / "a.yml").write_text(MINIMAL)
    (tmp_path / "b.yaml").write_text(
        "warehouse: {path: lake}\nsources: {two: {type: shop, host: d}}"
    )
    (tmp_path / ".hidden.yml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    config = load_config(tmp_path, options_for=options_for, environ={})
    assert list(config.sources) == ["shop", "two"]
    assert config.warehouse.path == str(tmp_path / "lake")
    assert config.files == (tmp_path / "a.yml", tmp_path / "b.yaml")


def test_folder_without_warehouse_puts_the_lake_inside(tmp_path):
    """The default warehouse of a folder lies in that folder."""
    (tmp_path / "a.yml").write_text(MINIMAL)
    config = load_config(tmp_path, options_for=options_for, environ={})
    assert config.warehouse.path == str(tmp_path / "warehouse")


def test_every_option_of_a_table_is_kept(tmp_path):
    """Each key of a table reaches the rest of cdpsync with its meaning."""
    rule = source(
        tmp_path,
        "tables:\n"
        "  public.users:\n"
        "    enabled: yes\n"
        "    mode: incremental\n"
        "    cursor_field: updated_at\n"
        "    primary_key: [id, part]\n"
        "    lookback: 10m\n"
        "    every: 1d\n"
        "    name: people\n"
        "    where: deleted_at is null\n"
        "    columns: {exclude: [note], types: {score: 'decimal(20,4)'}}\n"
        "    allow_shrink: true\n",
    ).tables[0]
    assert rule.pattern == "public.users"
    assert rule.location == f"{tmp_path / 'cdpsync.yml'}:6"
    assert rule.options == TableOptions(
        enabled=True,
        mode=SyncMode.INCREMENTAL,
        cursor_field="updated_at",
        primary_key=("id", "part"),
        lookback=timedelta(minutes=10),
        every=timedelta(days=1),
        name="people",
        where="deleted_at is null",
        exclude=("note",),
        types={"score": "decimal(20,4)"},
        allow_shrink=True,
    )


def test_every_table_option_has_its_key():
    """What the vocabulary knows of a table, the file can say: `columns` stands for three."""
    columns = {"include", "exclude", "types"}
    spoken = set(TableOptions.__dataclass_fields__) - columns | {"columns"}
    assert set(TableSection.model_fields) == spoken
    assert set(DefaultsSection.model_fields) == spoken - {"name"}


def test_tables_keep_the_order_of_the_file(tmp_path):
    """Globs apply in the order they are written in, so the order is kept."""
    tables = source(tmp_path, "tables: {b.*: {}, a.x: , '*': {enabled: false}}").tables
    assert [rule.pattern for rule in tables] == ["b.*", "a.x", "*"]
    assert tables[1].options == TableOptions()


@pytest.mark.parametrize("alias", ["replication_key", "update_key", "incremental_key", "cursor"])
def test_other_names_of_cursor_field(tmp_path, alias):
    """Names that other tools use are understood, in defaults and in tables."""
    loaded_source = source(tmp_path, f"defaults: {{{alias}: id}}\ntables: {{t: {{{alias}: at}}}}")
    assert loaded_source.defaults.cursor_field == "id"
    assert loaded_source.tables[0].options.cursor_field == "at"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("incremental", "incremental"),
        ("merge", "incremental"),
        ("append_only", "append_only"),
        ("append", "append_only"),
        ("append-only", "append_only"),
        ("full_table", "full_table"),
        ("full", "full_table"),
        ("full-table", "full_table"),
        ("full_refresh", "full_table"),
    ],
)
def test_other_names_of_modes(tmp_path, written, meant):
    """Names that other tools use for a mode are understood."""
    rule = source(tmp_path, f"tables: {{t: {{mode: {written}, cursor_field: id}}}}").tables[0]
    assert rule.options.mode == SyncMode(meant)


def test_one_column_is_a_primary_key(tmp_path):
    """A key of one column need not be a list."""
    assert source(tmp_path, "defaults: {primary_key: id}").defaults.primary_key == ("id",)


def test_lookback_may_be_a_number(tmp_path):
    """For a cursor that counts, lookback is a plain number, also out of the environment."""
    loaded_source = source(
        tmp_path, "defaults: {lookback: 100}\ntables: {t: {lookback: '${N}'}}", {"N": "7"}
    )
    assert loaded_source.defaults.lookback == Decimal(100)
    assert loaded_source.tables[0].options.lookback == Decimal(7)


@pytest.mark.parametrize(
    "tables",
    [
        "tables: {t: {mode: incremental}}\ndefaults: {cursor_field: id}",
        "tables: {s.t: {mode: incremental}, 's.*': {cursor_field: id}}",
        "tables: {'s.*': {mode: append}, '*': {cursor_field: id}}",
        "tables: {'s.*': {mode: append, enabled: false}}",
        "defaults: {mode: append}\ntables: {t: {cursor_field: id}}",
        "defaults: {mode: append}\ntables: {t: {mode: full}}",
    ],
)
def test_cursor_may_come_from_defaults_or_a_glob(tmp_path, tables):
    """A table takes what it does not say from the globs that cover it, then from defaults."""
    assert source(tmp_path, tables).tables


@pytest.mark.parametrize(
    "tables",
    [
        "tables: {t: {mode: incremental}, 's.*': {cursor_field: id}}",
        "tables: {'*': {mode: append}, 's.*': {cursor_field: id}}",
        "defaults: {mode: append}\ntables: {t: {enabled: false}}",
        "defaults: {mode: append}\ntables: {t: }",
        "defaults: {mode: append}",
    ],
)
def test_cursor_that_comes_from_nowhere_is_missed(tmp_path, tables):
    """A mode that follows a cursor is refused while a table it is for has none."""
    with pytest.raises(ConfigError, match=r"(append_only|incremental) needs a cursor_field"):
        source(tmp_path, tables)


def test_anchors_and_merge_keys_work(tmp_path):
    """What is written once with & can be used again with *, and added to with <<."""
    tables = source(
        tmp_path,
        "tables:\n"
        "  a: &big {mode: incremental, cursor_field: id, lookback: 5}\n"
        "  b: *big\n"
        "  c:\n    cursor_field: at\n    <<: *big\n"
        "  d:\n    <<: [{lookback: 1m}, *big]\n    mode: append\n",
    ).tables
    a, b, c, d = (rule.options for rule in tables)
    assert a == b
    assert (c.cursor_field, c.lookback) == ("at", Decimal(5))
    assert (d.mode, d.cursor_field, d.lookback) == ("append_only", "id", timedelta(minutes=1))


def test_only_what_is_plainly_a_number_is_one(tmp_path):
    """YAML's octal, hexadecimal and sixty-based numbers, and its dates, stay the text they are."""
    options = source(
        tmp_path,
        "headers: {a: 010, b: 0x1F, c: 1:30, d: 2024-01-01, 12: 'x', on: y z}\nport: 1_000",
    ).options
    assert options.headers == {
        "a": "010", "b": "0x1F", "c": "1:30", "d": "2024-01-01", "12": "x", "on": "y z"
    }  # fmt: skip
    assert options.port == 1000


def test_filled_in_text_becomes_what_the_option_is(tmp_path):
    """A number or a switch can come from the environment, though that holds only text."""
    options = source(
        tmp_path,
        "port: ${PORT}\ncompress: ${ON}\nratio: ${R}",
        {"PORT": "6", "ON": "yes", "R": "2"},
    ).options
    assert (options.port, options.compress, options.ratio) == (6, True, 2.0)


def test_options_know_the_folder_of_their_file(tmp_path):
    """A connector resolves its own relative paths: the folder is in the validation context."""
    from pydantic import BaseModel, ValidationInfo, field_validator

    class Files(BaseModel):
        path: str

        @field_validator("path")
        @classmethod
        def _absolute(cls, path: str, info: ValidationInfo) -> str:
            return str(info.context["folder"] / path)

    file = tmp_path / "a.yml"
    file.write_text("sources: {s: {type: files, path: data.csv}}")
    config = load_config(file, options_for=lambda _: Files)
    assert config.sources["s"].options.path == str(tmp_path / "data.csv")


def test_byte_order_mark_is_no_part_of_the_text(tmp_path):
    """A file saved by a Windows editor reads the same."""
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(tmp_path / "a.yml", options_for=options_for).sources


def test_pure_python_yaml_does_as_well(tmp_path, monkeypatch):
    """Where PyYAML was built without libyaml, nothing but speed is lost."""
    monkeypatch.delattr("yaml.CSafeLoader")
    assert load(tmp_path, MINIMAL).sources["shop"].location.endswith(":2")
    with pytest.raises(ConfigError, match=r":2: not valid YAML: a tab cannot indent"):
        load(tmp_path, "sources:\n\ta: b\n")


def test_importing_the_configuration_is_cheap():
    """`cdpsync --help` pays for neither YAML nor DuckDB."""
    code = "import sys, cdpsync.config; print({'yaml', 'duckdb', 'pyarrow'} & set(sys.modules))"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
