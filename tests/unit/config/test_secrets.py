"""A secret of the project file reaches no message, no log line and no repr."""

import json
from pathlib import Path

import pytest
from support.config_cases import load, opened, options_for

from cdpsync import redact
from cdpsync.config import load_config, secret_warnings
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model import Config

ENVIRON = {
    "URL_PW": "zq-urlpassword-1",
    "PW": "zq-password-2",
    "KEY": "zq-secretkey-3",
    "TOKEN": "zq-token-4",
    "PORT": "zq-port-5",
    "TYPE": "zq-type-6",
}
FILED = '{\n  "type": "service_account",\n  "private_key": "zq-filed-7-----longer"\n}'
LITERAL = ["zq-literal-8", "zq-nested-9", "zq-header-10", "zq-listed-11", "zq-query-12"]
SECRETS = [*ENVIRON.values(), "zq-filed-7-----longer", *LITERAL]

PROJECT = """\
warehouse:
  path: s3://lake/raw
  storage:
    access_key_id: zqid
    secret_access_key: ${KEY}
    session_token: "${TOKEN}"
    credentials: ${file:gcp.json}
sources:
  by_url:
    type: shop
    url: postgres://reader:${URL_PW}@db.example.com/shop?sslpassword=zq-query-12
    tables:
      public.api_tokens:
        where: api_token = user_name
        cursor_field: updated_at
        columns: {types: {token: varchar}}
  by_parts:
    type: shop
    host: db
    password: ${PW}
    tunnel: {host: bastion, key_text: zq-nested-9}
    headers: {x-api-key: zq-header-10}
  literal:
    type: shop
    host: db
    password: zq-literal-8
"""

MISTAKES = [
    ("password: ${PW}", "password: [zq-listed-11, {a: '${PW}'}]"),
    ("password: ${PW}", "password: {zq-literal-8: '${PW}'}\n    passwords: ${PW}"),
    ("password: ${PW}", "password: ${PW}\n    port: ${PORT}"),
    ("password: ${PW}", "password: ${PW}\n    password: zq-literal-8"),
    ("password: ${PW}", "password: ${PW} ${MISSING}"),
    ("password: ${PW}", "password: ${PW}${zq-literal-8}"),
    ("password: ${PW}", "password: *zq-literal-8"),
    ("password: ${PW}", "password: !zq-literal-8"),
    ("password: ${PW}", "password: '${PW}"),
    ("password: ${PW}", "password: a: zq-literal-8"),
    ("password: ${PW}", "password=zq-literal-8:"),
    ("password: ${PW}", "sslmode: ${PW}"),
    ("password: ${PW}", "tunnel: ${PW}"),
    ("password: ${PW}", "mode: ${PW}"),
    ("password: ${PW}", "every: ${PW}"),
    ("password: ${PW}", "tables: ${PW}"),
    ("password: ${PW}", "defaults: {mode: '${PW}', lookback: '${PW}', primary_key: {a: '${PW}'}}"),
    ("password: ${PW}", "tables: {t: {name: 'a.${PW}', columns: {include: '${PW}'}}}"),
    ("type: shop", "type: ${TYPE}"),
    ("path: s3://lake/raw", "path: s3://key:zq-literal-8@lake/raw"),
    ("path: s3://lake/raw", "path: http://key:${PW}@lake/raw\n  catalog: pg://u:${PW}@h"),
    ("path: s3://lake/raw", "path: [s3://lake/raw]\n  state: 5"),
    ("access_key_id: zqid", "endpoint: https://key:zq-literal-8@minio.example.com"),
    ("secret_access_key: ${KEY}", "secret_access_keys: ${KEY}"),
    ("${file:gcp.json}", "{a: '${file:gcp.json}'}"),
    ("sources:", "sources: zq-literal-8\nsource:"),
]


@pytest.fixture(autouse=True)
def _forget_secrets(monkeypatch):
    """Each test begins without the secrets of another."""
    monkeypatch.setattr(redact, "_known", set())
    monkeypatch.setattr(redact, "_pattern", None)


def loaded(folder: Path, text: str) -> Config:
    """Load a project beside a file with a secret in it."""
    (folder / "gcp.json").write_text(FILED + "\n")
    return load(folder, text, ENVIRON)


def test_configuration_can_be_printed(tmp_path):
    """The whole Config prints without a secret, though connectors can still read them."""
    config = loaded(tmp_path, PROJECT.replace("x-api-key: zq-header-10", "x-id: plain"))
    assert config.sources["by_parts"].options.password.get_secret_value() == "zq-password-2"
    assert json.loads(config.warehouse.storage.credentials.get_secret_value())["type"]
    for printed in (repr(config), str(config)):
        assert [secret for secret in SECRETS if secret in printed] == []


def test_secrets_are_hidden_from_every_error(tmp_path):
    """After loading, an error of any kind that quotes a secret comes out without it."""
    loaded(tmp_path, PROJECT)
    planted = set(SECRETS) - {"zq-port-5", "zq-type-6", "zq-listed-11"}
    for secret in planted:
        assert str(CdpsyncError(f"the server said: {secret}!")) == "the server said: ***!", secret
    assert str(CdpsyncError(f"bad key {FILED}")) == "bad key ***"


def test_whole_secret_fields_are_hidden(tmp_path):
    """A URL that is a secret is hidden as a whole, not only the password in it."""
    loaded(tmp_path, PROJECT)
    url = "postgres://reader:zq-urlpassword-1@db.example.com/shop?sslpassword=zq-query-12"
    assert str(CdpsyncError(f"cannot reach {url}")) == "cannot reach ***"


def test_names_of_tables_and_columns_hide_nothing(tmp_path):
    """A table called api_tokens does not make its options secrets."""
    loaded(tmp_path, PROJECT)
    assert str(CdpsyncError("user_name, varchar")) == "user_name, varchar"


def test_path_of_a_key_can_be_told(tmp_path):
    """private_key_file says where a secret is, and an error has to name the place."""
    loaded(tmp_path, PROJECT.replace("x-api-key: zq-header-10", "private_key_file: keys/zq.p8"))
    assert str(CdpsyncError("keys/zq.p8: not found")) == "keys/zq.p8: not found"


@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_no_mistake_shows_a_secret(tmp_path, right, wrong):
    """Whatever is wrong with a project, the error tells it without a value."""
    assert right in PROJECT
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, PROJECT.replace(right, wrong))
    for text in (str(caught.value), repr(caught.value), caught.value.message):
        assert [secret for secret in SECRETS if secret in text] == []


def test_mistakes_beside_secrets_are_told_before_redaction(tmp_path, monkeypatch):
    """Messages are made without values in the first place; redaction is only the second net."""
    monkeypatch.setattr("cdpsync.errors.redact", lambda text: text)
    for right, wrong in MISTAKES:
        with pytest.raises(ConfigError) as caught:
            loaded(tmp_path, PROJECT.replace(right, wrong))
        assert [secret for secret in SECRETS if secret in str(caught.value)] == [], wrong


def test_validators_of_a_connector_cannot_show_values(tmp_path):
    """What a connector's own check quotes is hidden too."""
    from pydantic import BaseModel, model_validator

    class Careless(BaseModel):
        region: str

        @model_validator(mode="before")
        @classmethod
        def _quote(cls, data: dict[str, str]) -> dict[str, str]:
            raise ValueError(f"no such region: {data['region']}")

    file = tmp_path / "a.yml"
    file.write_text("sources: {s: {type: x, region: '${R}'}}")
    with pytest.raises(ConfigError, match=r'source "s": no such region: \*\*\*\.'):
        opened(load_config(file, options_for=lambda _: Careless, environ={"R": "zq-region-13"}))


FILTERED = """\
sources:
  a:
    type: shop
    host: ${HOST}
    defaults: {where: "tenant = '${TENANT}'"}
    tables:
      public.t: {where: "key = '${KEY}' and day > '${DAY:-2024-01-31}' and x = 'zq-plain'"}
"""


def test_what_is_put_into_where_is_hidden(tmp_path):
    """A variable or file in `where` is as good as a secret; a default, or a host, is not."""
    load(tmp_path, FILTERED, {"TENANT": "zq-tenant", "KEY": "zq-key-it's", "HOST": "zq-host"})
    message = str(CdpsyncError("zq-tenant zq-key-it's zq-key-it''s 2024-01-31 zq-plain zq-host"))
    assert message == "*** *** *** 2024-01-31 zq-plain zq-host"


EXPOSED = """\
warehouse:
  path: s3://lake
  storage: {access_key_id: id, secret_access_key: zq-literal-1, session_token: "${TOKEN:-}"}
sources:
  a: {type: shop, url: "postgres://u:zq-literal-2@h/d"}
  b: {type: shop, url: "host=h password=zq-literal-3"}
  c: {type: shop, url: "postgres://u:${PW}@h/d"}
  d: {type: shop, host: h, password: "${PW}"}
  f: {type: shop, url: "${URL}"}
  g: {type: shop, url: "${URL:-postgres://u@h/d}"}
  e: {type: shop, host: h, password: "${UNSET:-zq-literal-4}", tables: {secret_tokens: {}}}
"""
KEYS = "warehouse.storage.secret_access_key, sources.a.url, sources.b.url, sources.e.password"


@pytest.fixture
def public_file(tmp_path, monkeypatch):
    """A project file that is open to everyone, and so is every folder that leads to it."""
    monkeypatch.setattr(secret_warnings, "_warned", set())
    monkeypatch.setattr(
        secret_warnings, "_others_can_read", lambda file: bool(file.stat().st_mode & 4)
    )
    file = tmp_path / "cdpsync.yml"
    file.write_text(EXPOSED)
    file.chmod(0o644)
    return file


OUTSIDE = {"PW": "zq-password-2", "URL": "postgres://u:zq-password-3@h/d"}


def _load(file: Path) -> Config:
    return load_config(file, options_for=options_for, environ=OUTSIDE)


def test_literal_secrets_in_a_public_file_are_told_once(public_file, caplog):
    """One warning names the file and the keys, never a value; a `${VAR}` is no literal."""
    _load(public_file)
    _load(public_file)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        f"{public_file}: every user of this machine can read it, and these keys hold a secret in "
        f"plain text: {KEYS}. Write ${{VARIABLE}} or ${{file:path}} there, or: chmod 600 "
        f"{public_file}"
    )


def test_private_files_may_hold_secrets(public_file, caplog):
    """What only its owner reads is nobody else's business."""
    public_file.chmod(0o600)
    _load(public_file)
    assert caplog.records == []


def test_a_closed_folder_keeps_its_files(tmp_path):
    """A file is read by others only where each folder that leads to it lets them pass."""
    (tmp_path / "a").write_text("")
    (tmp_path / "a").chmod(0o644)
    tmp_path.chmod(0o700)
    assert not secret_warnings._others_can_read(tmp_path / "a")
    assert secret_warnings._others_can_read(Path("/etc/passwd"))
