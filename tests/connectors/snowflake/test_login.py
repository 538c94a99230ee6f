"""Every way to log in, at the boundary of the driver; private keys in every form of them."""

from __future__ import annotations

import textwrap
from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError
from snowflake.connector import errors as driver_errors
from snowflake.connector.connection import DEFAULT_CONFIGURATION
from support.snowflake_fake import OPTIONS, FakeSnowflake

from cdpsync.errors import ConfigError, ConnectError
from cdpsync.redact import redact
from cdpsync_connectors.snowflake.connector import SnowflakeConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMATS = serialization.PrivateFormat
IDP = "https://idp.example/token"


def login_of(monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """Log in with these options and no password; return the keywords that the driver got."""
    fake = FakeSnowflake([("C", "NUMBER", 18, 0)])
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    settings = {**OPTIONS, "password": None, **options}
    connector = SnowflakeConnector(SnowflakeConnector.Options(**settings))
    connector.check()
    connector.discover()
    assert fake.login.keys() - {"connection_name"} <= DEFAULT_CONFIGURATION.keys()
    own = (
        "user",
        "password",
        "passcode",
        "token",
        "authenticator",
        "oauth_",
        "workload_",
        "private",
    )
    return {name: value for name, value in fake.login.items() if name.startswith(own)}


LOGINS = [
    ({"password": "pw-1234"}, {"user": "reader", "password": "pw-1234"}),
    ({"password": "pw-1234", "authenticator": "SNOWFLAKE"},
     {"user": "reader", "password": "pw-1234"}),
    ({"password": "pw-1234", "passcode": "987654"},
     {"user": "reader", "password": "pw-1234", "passcode": "987654",
      "authenticator": "username_password_mfa"}),
    ({"password": "pw-1234", "authenticator": "USERNAME_PASSWORD_MFA"},
     {"user": "reader", "password": "pw-1234", "authenticator": "username_password_mfa"}),
    ({"password": "pw-1234", "authenticator": "https://Acme.okta.com"},
     {"user": "reader", "password": "pw-1234", "authenticator": "https://Acme.okta.com"}),
    ({"authenticator": "ExternalBrowser"}, {"user": "reader", "authenticator": "externalbrowser"}),
    ({"token": "tok-1234", "user": None}, {"token": "tok-1234", "authenticator": "oauth"}),
    ({"token": "tok-1234", "authenticator": "oauth"},
     {"user": "reader", "token": "tok-1234", "authenticator": "oauth"}),
    ({"token": "pat-1234", "authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "user": None},
     {"token": "pat-1234", "authenticator": "programmatic_access_token"}),
    ({"oauth_client_id": "app", "oauth_client_secret": "shh-1234", "user": None,
      "oauth_token_request_url": IDP, "oauth_scope": "session:role:R"},
     {"oauth_client_id": "app", "oauth_client_secret": "shh-1234", "oauth_token_request_url": IDP,
      "oauth_scope": "session:role:R", "authenticator": "oauth_client_credentials"}),
    ({"workload_identity_provider": "aws", "user": None,
      "workload_identity_impersonation_path": "arn:aws:iam::1:role/r"},
     {"workload_identity_provider": "AWS", "authenticator": "workload_identity",
      "workload_identity_impersonation_path": ["arn:aws:iam::1:role/r"]}),
    ({"workload_identity_provider": "AZURE", "authenticator": "workload_identity", "user": None,
      "workload_identity_entra_resource": "api://x"},
     {"workload_identity_provider": "AZURE", "authenticator": "workload_identity",
      "workload_identity_entra_resource": "api://x"}),
    ({"workload_identity_provider": "oidc", "token": "jwt-1234", "user": None},
     {"workload_identity_provider": "OIDC", "token": "jwt-1234",
      "authenticator": "workload_identity"}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "keywords"), LOGINS)
def test_way_to_log_in_reaches_the_driver(
    options: dict[str, Any], keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the driver's own names and no keyword more; each secret is hidden from then on."""
    assert login_of(monkeypatch, **options) == keywords
    for name in ("password", "passcode", "token", "oauth_client_secret"):
        if name in keywords:
            assert redact(f"it was {keywords[name]} then") == "it was *** then"


def test_token_is_read_from_its_file_at_each_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else may replace it there. A missing file is named."""
    file = tmp_path / "token"
    for text in ("tok-first", "tok-second"):
        file.write_text(f"{text}\n")
        assert login_of(monkeypatch, token_file=str(file))["token"] == text
        assert redact(text) == "***"
    file.unlink()
    with pytest.raises(ConfigError, match=r"^token_file /.*/token cannot be read \(no such file"):
        login_of(monkeypatch, token_file=str(file))


@pytest.mark.parametrize("options", [
    {"password": "pw-1234", "passcode": "987654"}, {"authenticator": "externalbrowser"},
])  # fmt: skip
def test_person_is_asked_once(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A passcode is valid once, so all threads share one session."""
    fake = FakeSnowflake([("C", "NUMBER", 18, 0)])
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    settings = {**OPTIONS, "password": None, **options}
    sessions = SnowflakeConnector(SnowflakeConnector.Options(**settings))._sessions
    with sessions._lend(), sessions._lend():
        assert fake.logins == 1


WRONG = [
    ({}, "exactly one way to log in: .*none is given"),
    ({"password": "p", "token": "t"}, "not password and token"),
    ({"private_key": "k", "oauth_client_id": "c"}, "not private_key and oauth_client_id"),
    ({"private_key": "k", "private_key_file": "f"}, "private_key or private_key_file, not both"),
    ({"token": "t", "token_file": "f"}, "give token or token_file, not both"),
    ({"private_key": "k", "user": None}, "private_key needs a user"),
    ({"passcode": "123456", "private_key": "k"}, "passcode does not go with private_key"),
    ({"authenticator": "oauth"}, "authenticator: oauth needs token or token_file"),
    ({"authenticator": "oauth", "password": "p"}, "oauth needs token or token_file"),
    ({"authenticator": "oauth", "token": "t", "password": "p"},
     "password does not go with authenticator: oauth"),
    ({"authenticator": "programmatic_access_token"}, "needs token or token_file"),
    ({"authenticator": "https://acme.okta.com"}, "https://acme.okta.com needs password"),
    ({"authenticator": "okta"}, "the URL of your Okta"),
    ({"oauth_client_id": "c", "oauth_client_secret": "s"}, "needs oauth_token_request_url"),
    ({"oauth_client_id": "c", "oauth_token_request_url": IDP}, "needs oauth_client_secret"),
    ({"authenticator": "workload_identity"}, "needs workload_identity_provider"),
    ({"workload_identity_provider": "oidc"}, "oidc needs token or token_file"),
    ({"workload_identity_provider": "aws", "token": "t"}, "takes its token from the machine"),
    ({"workload_identity_provider": "aws", "workload_identity_entra_resource": "x"},
     "is for .*azure"),
    ({"workload_identity_provider": "oidc", "token": "t",
      "workload_identity_impersonation_path": ["x"]}, "is for aws, azure and gcp"),
    ({"workload_identity_provider": "ibm"}, "'aws', 'azure', 'gcp' or 'oidc'"),
    ({"password": "p", "connect_options": {"passcode": "1"}}, "beside connect_options"),
    ({"password": "p", "connect_options": {"token_file_path": "x"}}, "beside connect_options"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "reason"), WRONG)
def test_keys_that_do_not_go_together_are_refused(options: dict[str, Any], reason: str) -> None:
    """Before anything is connected to, in one line that names the keys."""
    with pytest.raises(ValidationError, match=reason) as caught:
        SnowflakeConnector.Options(**{**OPTIONS, "password": None, **options})
    assert "\n" not in caught.value.errors()[0]["msg"]


REFUSED = [
    ("Incorrect passcode was specified.", "the passcode was refused. Give a new one"),
    ("Programmatic access token is invalid.", "the programmatic access token was refused"),
]


@pytest.mark.parametrize(("words", "reason"), REFUSED)
def test_refused_login_says_what_to_do(
    words: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the way to log in."""
    error = driver_errors.DatabaseError(msg=words, errno=250001, sqlstate="08001")
    fake = FakeSnowflake([], errors={"login": error})
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    with pytest.raises(ConnectError, match=reason):
        SnowflakeConnector(SnowflakeConnector.Options(**OPTIONS)).check()


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(
    encoding: str = "PEM", form: FORMATS = FORMATS.PKCS8, phrase: bytes | None = None
) -> bytes:
    hidden: Any = serialization.NoEncryption()
    if phrase:
        hidden = serialization.BestAvailableEncryption(phrase)
    return key().private_bytes(getattr(serialization.Encoding, encoding), form, hidden)


def body(pem: str) -> str:
    return "\n".join(pem.strip().splitlines()[1:-1])


KINDS = {
    "pkcs8": {},
    "pkcs1": {"form": FORMATS.TraditionalOpenSSL},
    "pkcs8, encrypted": {"phrase": b"open sesame"},
    "pkcs1, encrypted": {"form": FORMATS.TraditionalOpenSSL, "phrase": b"open sesame"},
}
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda pem: pem,
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "BOM, blanks": lambda pem: f"\ufeff  {pem}\n\n",
    r"\n written out": lambda pem: pem.replace("\n", r"\n"),
    r"\\n, quoted": lambda pem: '"' + pem.replace("\n", r"\\n") + '"',
    r"\r\n written out": lambda pem: pem.replace("\n", r"\r\n"),
    "base64 of PEM": lambda pem: b64encode(pem.encode()).decode(),
    "base64 of PEM, wrapped": lambda pem: textwrap.fill(b64encode(pem.encode()).decode(), 76),
}
FORMS_WITHOUT_INNER_HEADERS: dict[str, Callable[[str], str]] = {
    "on one line, spaces": lambda pem: pem.strip().replace("\n", " "),
    "on one line, nothing": lambda pem: pem.strip().replace("\n", ""),
    "base64 of DER": body,
    "base64 of DER on one line": lambda pem: body(pem).replace("\n", ""),
    "base64url of DER": lambda pem: (
        body(pem).replace("\n", "").translate(str.maketrans("+/", "-_")).rstrip("=")
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_private_key_is_read_in_every_form(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a variable and in a file: the driver gets the same key. A needless passphrase is none."""
    expected = encoded("DER")
    pem = encoded(**KINDS[kind]).decode()
    is_only_pem = kind == "pkcs1, encrypted"  # with headers of its own inside
    forms = FORMS if is_only_pem else FORMS | FORMS_WITHOUT_INNER_HEADERS
    files = {name: form(pem).encode() for name, form in forms.items()}
    if not is_only_pem:
        files["DER"] = encoded("DER", **KINDS[kind])
    wrong = []
    for name, content in files.items():
        (tmp_path / "key").write_bytes(content)
        ways = [{"private_key_file": str(tmp_path / "key")}]
        ways += [{"private_key": content.decode()}] if name != "DER" else []
        for way in ways:
            login = login_of(monkeypatch, passphrase="open sesame", **way)
            if login != {"user": "reader", "private_key": expected}:
                wrong.append((name, way.keys()))
    assert wrong == []
    assert redact(pem) == "***"


def test_key_of_an_elliptic_curve_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver signs with it, too."""
    curve = ec.generate_private_key(ec.SECP256R1())
    text = curve.private_bytes(
        serialization.Encoding.PEM, FORMATS.PKCS8, serialization.NoEncryption()
    )
    assert login_of(monkeypatch, private_key=text.decode())["private_key"].startswith(b"\x30")


def _public() -> str:
    return key().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip


def _ed25519() -> str:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, FORMATS.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


NO_KEYS = {
    "half": (lambda: encoded().decode()[:900], "or a part is missing"),
    "a body that is cut": (lambda: body(encoded().decode())[:800], "or a part is missing"),
    "a password": (lambda: "hunter2-hunter2", "neither PEM, nor DER, nor base64"),
    "empty": (lambda: " ", "neither PEM"),
    "public": (_public, "it is a public key; the private key is needed"),
    "another kind": (_ed25519, "it is a key of Ed25519, and Snowflake takes RSA"),
    "locked": (lambda: encoded(phrase=b"right").decode(), "the key is encrypted. Set passphrase"),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_text_that_is_no_key_is_named_and_not_shown(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the reason and no part of the text."""
    make, reason = NO_KEYS[name]
    text = make()
    with pytest.raises(ConfigError, match=reason) as caught:
        login_of(monkeypatch, private_key=text)
    assert "\n" not in caught.value.message
    assert not text.strip() or text.strip()[30:60] not in caught.value.message or len(text) < 30


def test_wrong_passphrase_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the key."""
    with pytest.raises(ConfigError, match="private_key: the passphrase does not open the key"):
        login_of(monkeypatch, private_key=encoded(phrase=b"right").decode(), passphrase="wrong-one")
