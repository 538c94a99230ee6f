"""Private keys as people keep them: PEM, base64 of PEM or DER, DER, a body without its header."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_MAKE_ONE = "Make one: openssl genrsa 2048 | openssl pkcs8 -topk8 -inform PEM -out key.p8 -nocrypt"
_DECRYPT = "take it away: openssl pkcs8 -topk8 -nocrypt -in KEY -out key.p8"
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_SEQUENCE = b"\x30"  # the first byte of each key in DER
_LINE = 64


def driver_key(data: bytes, passphrase: str | None, place: str) -> bytes:
    """Return a private key in the driver's form: DER of PKCS #8, not encrypted.

    Raises ConfigError that begins with `place`, without any part of the key. A passphrase for a
    key that has none is not used.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = _loaded(_without_wrapping(data, place), passphrase, place)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
        raise ConfigError(f"{place}: it is a key of {kind}, and Snowflake takes RSA. {_MAKE_ONE}.")
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _without_wrapping(data: bytes, place: str) -> bytes:
    """Return PEM with its line breaks, or DER, from any of the forms in which a key is kept."""
    if data.startswith(_SEQUENCE) and not data.isascii():
        return data
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_key(place) from None
    text = re.sub(r"\\+r", "", re.sub(r"\\+n", "\n", text)).strip().strip("'\"").strip()
    pem = _PEM.search(text)
    if pem is not None:
        return _with_line_breaks(pem, place)
    try:
        decoded = b64decode("".join(text.split()).translate(str.maketrans("-_", "+/")) + "==")
    except (Base64Error, ValueError):
        raise _no_key(place) from None
    if decoded.startswith(_SEQUENCE):
        return decoded
    if b"-----BEGIN " in decoded:
        return _without_wrapping(decoded, place)
    raise _no_key(place)


def _with_line_breaks(pem: re.Match[str], place: str) -> bytes:
    """Return a PEM whose line breaks may have become spaces, or are missing."""
    label, body = pem[1], pem[2]
    if "PRIVATE KEY" not in label:
        raise ConfigError(f"{place}: it is a {label.lower()}; the private key is needed.")
    if ":" in body:  # the headers of an encrypted key of the old form, which are lines of their own
        return pem[0].encode()
    letters = "".join(body.split())
    lines = [letters[start : start + _LINE] for start in range(0, len(letters), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _loaded(data: bytes, passphrase: str | None, place: str) -> PrivateKeyTypes:
    """Return the key; the library's messages are not shown, because they may repeat a part of it.

    It is opened without the passphrase first, because the library refuses one that is not needed.
    """
    try:
        return _load(data, None)
    except TypeError:  # it is encrypted
        if not passphrase:
            raise ConfigError(
                f"{place}: the key is encrypted. Set passphrase, or {_DECRYPT}."
            ) from None
    except ValueError:
        raise _no_key(place) from None
    try:
        return _load(data, passphrase.encode())
    except (TypeError, ValueError):
        raise ConfigError(
            f"{place}: the passphrase does not open the key. Try both: openssl pkey -noout -in KEY."
        ) from None


def _load(data: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = serialization.load_der_private_key
    if data.startswith(b"-----"):
        load = serialization.load_pem_private_key
    try:
        return load(data, passphrase)
    except UnsupportedAlgorithm as error:
        raise ValueError(error) from error


def _no_key(place: str) -> ConfigError:
    return ConfigError(
        f"{place}: not a private key: neither PEM, nor DER, nor base64 of one of them, or a part "
        f"is missing. {_MAKE_ONE}."
    )
