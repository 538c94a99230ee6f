"""Postgres over TLS: the requirements of each `sslmode`, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.postgres_reading import connected, read_back
from support.tls import certificate, tls_door

from cdpsync.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server


@dataclass(frozen=True)
class Secure:
    """A Postgres that refuses connections without TLS, and the certificate that it shows."""

    server: Server
    port: int
    certificate: Path

    def url(self, host: str = "127.0.0.1", query: str = "") -> str:
        return f"postgresql://postgres:{self.server.password}@{host}:{self.port}/postgres{query}"


@pytest.fixture(scope="module")
def secure(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A Postgres that accepts only TLS."""
    crt, key = certificate(tmp_path_factory.mktemp("tls"))
    with tls_door(postgres_server.port, crt, key) as port:
        yield Secure(postgres_server, port, crt)


@pytest.mark.parametrize("mode", [None, "prefer", "require", "verify-ca", "verify-full"])
def test_rows_come_over_tls(secure: Secure, pg_table: str, mode: str | None) -> None:
    """Discovery and the rows themselves come over TLS; both clients verify alike."""
    options = {} if mode is None else {"sslmode": mode}
    if mode and mode.startswith("verify"):
        options["sslrootcert"] = str(secure.certificate)
    assert len(read_back(secure.url(), pg_table, options).rows) == 3000


@pytest.fixture
def pg_table(postgres_server: Server) -> Iterator[str]:
    """A table of 3,000 rows."""
    postgres_server.execute("create table over_tls as select generate_series(1, 3000) as id")
    yield "public.over_tls"
    postgres_server.execute("drop table over_tls")


def test_without_tls_is_refused_with_the_key_to_set(secure: Secure) -> None:
    """The error says which key to set."""
    expected_error = pytest.raises(ConnectorError, match="Set sslmode: require")
    with connected(secure.url(), sslmode="disable") as connector, expected_error:
        connector.check()


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_unknown_authority_is_refused(secure: Secure, mode: str, tmp_path: Path) -> None:
    """No password is sent to a server whose certificate no authority confirms."""
    (folder := tmp_path / "other").mkdir()
    authority, _ = certificate(folder)
    expected_error = pytest.raises(ConnectorError, match=r"could not be verified\. Set sslrootcert")
    options = {"sslmode": mode, "sslrootcert": str(authority)}
    with connected(secure.url(), **options) as connector, expected_error:
        connector.check()


def test_named_authority_is_checked_without_a_mode(secure: Secure) -> None:
    """`sslrootcert` alone means verify-full: who names an authority wants the server verified."""
    ca = str(secure.certificate)
    with connected(secure.url(), sslrootcert=ca) as connector:
        connector.check()
    expected_error = pytest.raises(ConnectorError, match="could not be verified")
    for url, options in (
        (secure.url("localhost"), {"sslrootcert": ca}),
        (secure.url("localhost", f"?sslrootcert={ca}"), {}),
    ):
        with connected(url, **options) as connector, expected_error:
            connector.check()
    with connected(secure.url("localhost", f"?sslrootcert={ca}&sslmode=verify-ca")) as connector:
        connector.check()


def test_server_without_tls_is_refused_if_tls_is_required(postgres_server: Server) -> None:
    """No password is sent in the open to a server that does not support TLS."""
    expected_error = pytest.raises(ConnectorError, match="does not support TLS")
    with connected(postgres_server.url, sslmode="require") as connector, expected_error:
        connector.check()
