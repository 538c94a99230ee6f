"""The errors of S3-compatible services in plain words, each with the next step."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.errors import LandingError
from cdpsync.storage.options import BucketUrl, already_exists, missing_driver

if TYPE_CHECKING:
    from collections.abc import Iterator

RIGHTS = {
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
}
ALREADY_EXISTS = {"PreconditionFailed", "412"}
_FULL = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "507",
}
_FORBIDDEN = {"AccessDenied", "403", "AllAccessDisabled"}

_IS_FULL = "the bucket is full, or its quota used up. Make room, then run this again"
_MEANINGS = {
    "NoSuchBucket": "there is no such bucket. Create it, or fix warehouse.path",
    "InvalidAccessKeyId": "the service does not know this access_key_id. Check the key, and that "
    "it belongs to this endpoint",
    "SignatureDoesNotMatch": "the secret_access_key does not match the access_key_id. Check both",
    "ExpiredToken": "the credentials have expired. Get new ones, then run this again",
    "InvalidToken": "the session_token is not valid. Get new credentials, then run this again",
    "RequestTimeTooSkewed": "this machine's clock is wrong. Set the clock",
    "PermanentRedirect": "the bucket is in another region. Set warehouse.storage.region to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region. Set "
    "warehouse.storage.region to it",
    "SlowDown": "the service limits the rate of requests, also after many attempts. Run "
    "this again later, or with fewer --threads",
}


def code(error: Exception) -> str:
    """Return S3's error code; an empty text for an error that is not S3's."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True, slots=True)
class S3Errors:
    """Translates boto3's errors for one bucket, at an endpoint or, with None, at Amazon."""

    url: BucketUrl
    endpoint: str | None

    @contextmanager
    def translated(self, action: str, name: str) -> Iterator[None]:
        """Raise boto3's errors as LandingError that names the bucket and the action."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from s3transfer.exceptions import CancelledError
        except ModuleNotFoundError as error:
            raise missing_driver("boto3", "s3") from error
        try:
            yield
        except ClientError as error:
            raise self._refused(action, name, error) from error
        except CancelledError as error:
            raise self.cancelled(name) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        except RecursionError as error:  # botocore follows redirects between regions
            raise self._meaning(action, "PermanentRedirect") from error
        except OSError as error:
            raise LandingError(
                f"{self.url}: {name} could not be sent: {error}. Nothing was committed."
            ) from error

    def cancelled(self, name: str) -> LandingError:
        """Return the error of an upload that was cancelled."""
        return LandingError(f"{self.url}: the upload of {name} was cancelled.")

    def no_credentials(self) -> LandingError:
        """Return the error that names each source of credentials."""
        return LandingError(
            f"{self.url}: no credentials were found. Give access_key_id and secret_access_key "
            "under warehouse.storage, or have them in the environment (AWS_ACCESS_KEY_ID), in a "
            "profile, or as a role of this machine."
        )

    def _refused(self, action: str, name: str, error: Exception) -> LandingError:
        error_code = code(error)
        if error_code in ALREADY_EXISTS | {"ConditionalRequestConflict"}:
            return already_exists(self.url, name)
        if error_code in _FORBIDDEN:
            return LandingError(
                f"{self.url}: these credentials may not {action} objects there. Grant "
                f"{RIGHTS[action]} on {self.url.bucket}/{self.url.prefix}*. "
                "Nothing was committed.",
                forbidden=True,
            )
        if error_code == "NoSuchKey":
            return LandingError(f"{self.url}: {name} does not exist.")
        if error_code in _FULL | _MEANINGS.keys():
            return self._meaning(action, error_code)
        return LandingError(
            f"{self.url}: the service refused to {action} {name} "
            f"({engine.first_line(error)}). Nothing was committed."
        )

    def _meaning(self, action: str, error_code: str) -> LandingError:
        meaning = _IS_FULL if error_code in _FULL else _MEANINGS[error_code]
        return LandingError(
            f"{self.url}: {meaning}. The request was to {action} objects; nothing was committed."
        )

    def _unreachable(self, error: Exception) -> LandingError:
        from botocore import exceptions

        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return self.no_credentials()
        if isinstance(error, exceptions.ProfileNotFound):
            return LandingError(f"{self.url}: {error}. See ~/.aws/config.")
        service = self.endpoint or "Amazon S3"
        return LandingError(
            f"{self.url}: {service} cannot be reached ({engine.first_line(error)}), after "
            "several attempts. Nothing was committed; run this again."
        )
