"""MySQL over TLS: the requirements of each `ssl_mode`, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.mysql_reading import connected, read_back
from support.mysql_server import MariaServer, mariadb
from support.tls import certificate

from cdpsync.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Secure:
    """A server that refuses connections without TLS, and the certificate that it shows."""

    server: MariaServer
    certificate: Path

    def url(self, host: str = "127.0.0.1") -> str:
        return self.server.url.replace("127.0.0.1", host)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A MariaDB that accepts only TLS."""
    crt, key = certificate(tmp_path_factory.mktemp("tls"))
    with mariadb(ssl_cert=str(crt), ssl_key=str(key), require_secure_transport="ON") as server:
        server.execute(
            "create table t (id int primary key, note varchar(200));\n"
            "insert into t select seq, repeat('x', seq % 200) from seq_1_to_30000"
        )
        yield Secure(server, crt)


@pytest.mark.parametrize("mode", ["preferred", "required", "verify_ca", "verify_identity"])
def test_rows_come_over_tls(secure: Secure, mode: str) -> None:
    """A read over TLS has every row."""
    options = {"ssl_mode": mode}
    if mode.startswith("verify"):
        options["ssl_ca"] = str(secure.certificate)
    assert len(read_back(secure.server, "t", options).rows) == 30_000


def test_without_tls_is_refused_with_the_key_to_set(secure: Secure) -> None:
    """The error says which key to set."""
    expected_error = pytest.raises(ConnectorError, match="set ssl_mode: required")
    with connected(secure.url(), ssl_mode="disabled") as connector, expected_error:
        connector.check()


@pytest.mark.parametrize("mode", ["verify_ca", "verify_identity"])
def test_unknown_authority_is_refused(secure: Secure, mode: str) -> None:
    """No password is sent to a server whose certificate no authority confirms."""
    expected_error = pytest.raises(ConnectorError, match=r"could not be verified\. Set ssl_ca")
    with connected(secure.url(), ssl_mode=mode) as connector, expected_error:
        connector.check()


def test_another_name_is_refused_by_verify_identity(secure: Secure) -> None:
    """`verify_identity` looks at the name, `verify_ca` does not."""
    url, ca = secure.url("localhost"), str(secure.certificate)
    expected_error = pytest.raises(ConnectorError, match="could not be verified")
    with connected(url, ssl_mode="verify_identity", ssl_ca=ca) as connector, expected_error:
        connector.check()
    with connected(url, ssl_mode="verify_ca", ssl_ca=ca) as connector:
        connector.check()


def test_named_authority_is_checked_without_a_mode(secure: Secure) -> None:
    """`ssl_ca` alone means verify_identity."""
    ca = str(secure.certificate)
    with connected(secure.url(), ssl_ca=ca) as connector:
        connector.check()
    expected_error = pytest.raises(ConnectorError, match="could not be verified")
    with connected(secure.url("localhost"), ssl_ca=ca) as connector, expected_error:
        connector.check()
