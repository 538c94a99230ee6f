"""Errors of Snowflake: each is one line with the next step.

The numbers are those of the driver (network.py, errorcode.py) and of
docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting; the words those of Snowflake.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector import errors
from support.snowflake_fake import OPTIONS, FakeSnowflake

from cdpsync.connector import ReadRequest
from cdpsync.errors import (
    ConfigError,
    ConnectError,
    ConnectorError,
    RateLimitError,
    ReadError,
)
from cdpsync_connectors.snowflake.connector import SnowflakeConnector
from cdpsync_connectors.snowflake.errors import translate_reading

COLUMNS = [("C", "NUMBER", 18, 0)]


def connector_of(**options: Any) -> SnowflakeConnector:
    return SnowflakeConnector(SnowflakeConnector.Options(**{**OPTIONS, **options}))


def install_fake(monkeypatch: pytest.MonkeyPatch, **errors_: Exception) -> FakeSnowflake:
    fake = FakeSnowflake(COLUMNS, errors=errors_)
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    return fake


LOGINS = [
    (390100, "Incorrect username or password was specified.", "password was refused"),
    (250001, "Failed to connect to DB: x. Incorrect username or password", "password was refused"),
    (390102, "User temporarily locked. Try again later", "locked for some minutes"),
    (390101, "User access disabled. Contact your local system administrator.", "is disabled"),
    (390144, "JWT token is invalid. [0ce9eb56]", "private key is not the user"),
    (394304, "JWT token has an invalid fingerprint", "private key is not the user"),
    (390318, "OAuth access token expired. [1172562260498]", "token has expired"),
    (390303, "Invalid OAuth access token. [1172562260498]", "token was refused"),
    (390189, "Role 'X' specified in the connect string does not exist", "GRANT ROLE"),
    (390186, "Role 'X' specified in the connect string is not granted", "GRANT ROLE"),
    (390422, "Incoming request with IP/Token 1.2.3.4 is not allowed", "network policy"),
    (390197, "Multi-factor authentication is required for this account.", "Use a key pair"),
    (290404, "404 Not Found: post x.snowflakecomputing.com/session", "no such account"),
    (250001, "Could not connect to Snowflake backend after 2 attempt(s)", "no answer in time"),
    (999999, "Something that nobody has seen.", "no session: Something that nobody has seen"),
]


@pytest.mark.parametrize(("number", "words", "reason"), LOGINS)
def test_login_that_fails_says_why(
    number: int, words: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Account, user, reason and the next step, in one line, whatever the driver calls it."""
    install_fake(monkeypatch, login=errors.DatabaseError(msg=words, errno=number, sqlstate="08001"))
    with pytest.raises(ConnectError) as caught:
        connector_of().check()
    assert caught.value.message.startswith("acme-main as reader: ")
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_account_that_does_not_exist_is_forbidden_by_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service answers 403 for an account that is not there."""
    words = "Failed to connect to DB. Verify the account name is correct: x:443. 403 Forbidden"
    install_fake(monkeypatch, login=errors.ForbiddenError(msg=words, errno=250001))
    with pytest.raises(ConnectError, match=r"there is no such account\. Check account"):
        connector_of().check()


READS = [
    (606, "No active warehouse selected in the current session.", "Set warehouse", False),
    (90073, ("Warehouse 'WH' cannot be resumed because resource monitor 'RM' has exceeded its "
     "quota."), "resource monitor", False),
    (90064, "Warehouse 'WH' was suspended.", "ALTER WAREHOUSE … RESUME", False),
    (630, "Statement reached its statement or warehouse timeout of 5 second(s) and was canceled.",
     "Raise statement_timeout", False),
    (604, "SQL execution canceled", "cancelled the statement", False),
    (2003, "SQL compilation error:\nObject 'SHOP.PUBLIC.T' does not exist or not authorized.",
     "Object 'SHOP.PUBLIC.T' does not exist, or the role may not use it", False),
    (3001, "SQL access control error:\nInsufficient privileges to operate on table 'T'.",
     "for table 'T'. Run there, as its owner: GRANT SELECT", False),
    (390111, "Session no longer exists. New login required to access the service.",
     "session has ended", True),
    (390114, "Authentication token has expired. The user must authenticate again.",
     "session has ended", True),
    (250003, "Failed to get the response. Hanging? method: post", "connection was lost", True),
    (252010, "Failed to download a chunk", "connection was lost", True),
    (100038, "Numeric value 'x' is not recognized", "Numeric value 'x' is not recognized", False),
]  # fmt: skip


@pytest.mark.parametrize(("number", "words", "reason", "retryable"), READS)
def test_read_that_fails_says_why(
    number: int, words: str, reason: str, retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a statement; what may go away by itself is retryable."""
    error = errors.ProgrammingError(msg=words, errno=number, sqlstate="42000", sfqid="0-1-2")
    fake = install_fake(monkeypatch)
    connector = connector_of()
    (stream,) = connector.discover()
    fake.errors[r"from \"SHOP\".\"PUBLIC\".\"T\""] = error
    with (
        pytest.raises(ConnectorError) as caught,
        connector.read(ReadRequest(stream, stream.columns)),
    ):
        pass
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.retryable is retryable


def test_wrong_where_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of syntax is told with the user's own words."""
    fake = install_fake(monkeypatch)
    connector = connector_of()
    (stream,) = connector.discover()
    words = "SQL compilation error: error line 4 at position 1\ninvalid identifier 'GON'"
    fake.errors["where"] = errors.ProgrammingError(msg=words, errno=904)
    request = ReadRequest(stream, stream.columns, where="gon is null")
    fake.errors = {r"\(gon": fake.errors["where"]}
    with pytest.raises(ReadError, match=r"where: gon is null: .*GON"), connector.read(request):
        pass


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 6 * 3600), ("10h", 36000)])
def test_long_read_is_not_cancelled_by_the_driver(
    timeout: str | None, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """network_timeout is for requests; a statement may run as long as statement_timeout says."""
    fake = install_fake(monkeypatch)
    connector = connector_of(statement_timeout=timeout)
    (stream,) = connector.discover()
    with connector.read(ReadRequest(stream, stream.columns)):
        assert fake.timeouts[-1] == seconds


def test_ended_session_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that expired between two tables costs one of them a retry, not the run."""
    fake = install_fake(monkeypatch)
    connector = connector_of()
    connector.discover()
    fake.errors["select"] = errors.ProgrammingError(msg="Session no longer", errno=390111)
    with pytest.raises(ConnectError):
        connector.discover()
    fake.errors.clear()
    assert connector.discover()
    assert fake.logins == 2


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (errors.TooManyRequests(errno=429), RateLimitError, "too many requests"),
        (errors.ServiceUnavailableError(errno=503), ConnectError, "temporarily unavailable"),
        (errors.GatewayTimeoutError(errno=504), ConnectError, "temporarily unavailable"),
        (errors.ForbiddenError(errno=403), ReadError, "six hours, have expired"),
    ],
)
def test_download_that_fails_says_why(error: Exception, kind: type[Exception], reason: str) -> None:
    """After the driver's own ten tries: a busy service is retried, an expired address is not."""
    translated = translate_reading(error, "acme")
    assert isinstance(translated, kind)
    assert reason in translated.message
    assert translated.retryable is (kind is not ReadError)


def test_foreign_error_is_not_translated() -> None:
    """A full disk is not an error of Snowflake."""
    assert translate_reading(OSError("No space left on device"), "acme") is None


def pem(passphrase: bytes | None = None) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    hidden = serialization.NoEncryption()
    if passphrase:
        hidden = serialization.BestAvailableEncryption(passphrase)  # type: ignore[assignment]
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden
    ).decode()


def test_private_key_logs_in_as_text_and_as_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Both reach the driver as the same key, opened with its passphrase."""
    fake = install_fake(monkeypatch)
    text, handed = pem(b"open sesame"), []
    (tmp_path / "key.p8").write_text(text)
    for login in ({"private_key": text}, {"private_key_file": str(tmp_path / "key.p8")}):
        connector_of(password=None, passphrase="open sesame", **login).check()
        handed.append(fake.login["private_key"])
        assert "password" not in fake.login
    assert handed[0] == handed[1]
    assert serialization.load_der_private_key(handed[0], None)


@pytest.mark.parametrize(
    "options",
    [
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"},
        {"private_key": pem(b"right"), "passphrase": "wrong"},
        {"private_key": pem(b"right")},
    ],
)
def test_error_about_a_key_does_not_show_it(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that makes a key is named, no piece of the key is."""
    install_fake(monkeypatch)
    with pytest.raises(ConfigError, match="openssl") as caught:
        connector_of(password=None, **options).check()
    assert options["private_key"][40:60] not in str(caught.value.__context__)
    assert caught.value.__cause__ is None


def test_token_and_browser_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OAuth token needs no user; the browser asks in its own window."""
    fake = install_fake(monkeypatch)
    connector_of(password=None, user=None, token="tok-123").check()
    assert (fake.login["authenticator"], fake.login["token"]) == ("oauth", "tok-123")
    connector_of(password=None, authenticator="externalbrowser").check()
    assert fake.login["authenticator"] == "externalbrowser"


def test_session_does_not_depend_on_the_users_own_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No limit on rows, UTC, Arrow; role, warehouse, tag and timeout as the project says."""
    fake = install_fake(monkeypatch)
    connector_of(
        role="READER",
        warehouse="WH",
        query_tag="nightly",
        statement_timeout="5m",
        connect_options={"host": "proxy", "port": 8443, "network_timeout": 5},
    ).check()
    login, parameters = fake.login, fake.login["session_parameters"]
    assert (login["role"], login["warehouse"], login["host"]) == ("READER", "WH", "proxy")
    assert (login["port"], login["network_timeout"]) == (8443, 5)
    assert parameters["QUERY_TAG"] == "nightly"
    assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == 300
    assert parameters["ROWS_PER_RESULTSET"] == 0
    assert parameters["TIMEZONE"] == "UTC"
    assert parameters["PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"] == "ARROW"


def test_missing_driver_names_the_command() -> None:
    """One command to type, and no traceback."""
    code = """
import sys
sys.modules["snowflake.connector"] = None
from cdpsync.errors import ConnectorError
from cdpsync_connectors.snowflake import SnowflakeConnector
options = SnowflakeConnector.Options(account="a", user="u", password="p", database="d")
try:
    SnowflakeConnector(options).check()
except ConnectorError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'cdpsync[snowflake]'" in done.stdout


def test_naming_the_connector_imports_no_driver() -> None:
    """The driver takes a second to import: only who reads Snowflake pays for it."""
    code = """
import sys
import cdpsync_connectors.snowflake
print([name for name in ("snowflake.connector", "pyarrow", "cryptography") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
