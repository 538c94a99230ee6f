"""What the refusals of S3 and its kin mean, and what to do about them."""

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
TAKEN = {"PreconditionFailed", "412"}
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
    "NoSuchBucket": "there is no such bucket. Create it, or mend warehouse.path",
    "InvalidAccessKeyId": "the service does not know this access_key_id. Check the key, and that "
    "it belongs to this endpoint",
    "SignatureDoesNotMatch": "the secret_access_key does not fit the access_key_id. Check both",
    "ExpiredToken": "the credentials have expired. Get new ones, then run this again",
    "InvalidToken": "the session_token is not valid. Get new credentials, then run this again",
    "RequestTimeTooSkewed": "this machine's clock is wrong. Set it",
    "PermanentRedirect": "the bucket is in another region. Set warehouse.storage.region to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region. Set "
    "warehouse.storage.region to it",
    "SlowDown": "the service asks to be used more slowly, still after many attempts. Run "
    "this again later, or with fewer --threads",
}


def code(error: Exception) -> str:
    """Return S3's word for what went wrong; nothing for an error that is not S3's."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True, slots=True)
class S3Errors:
    """Who says what boto3's errors mean for one place, at an endpoint or, with None, at Amazon."""

    place: BucketUrl
    endpoint: str | None

    @contextmanager
    def translated(self, action: str, name: str) -> Iterator[None]:
        """Raise LandingError, naming the place and the action, for what boto3 raises inside."""
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
            raise self.broken_off(name) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        except RecursionError as error:  # botocore, sent from one region to the next
            raise self._meaning(action, "PermanentRedirect") from error
        except OSError as error:
            raise LandingError(
                f"{self.place}: {name} could not be sent: {error}. Nothing was committed."
            ) from error

    def broken_off(self, name: str) -> LandingError:
        """Return the error of an upload that was stopped."""
        return LandingError(f"{self.place}: the upload of {name} was broken off.")

    def no_credentials(self) -> LandingError:
        """Return the error that names each place where keys may come from."""
        return LandingError(
            f"{self.place}: no credentials were found. Give access_key_id and secret_access_key "
            "under warehouse.storage, or have them in the environment (AWS_ACCESS_KEY_ID), in a "
            "profile, or as a role of this machine."
        )

    def _refused(self, action: str, name: str, error: Exception) -> LandingError:
        word = code(error)
        if word in TAKEN | {"ConditionalRequestConflict"}:
            return already_exists(self.place, name)
        if word in _FORBIDDEN:
            return LandingError(
                f"{self.place}: these credentials may not {action} objects there. Grant "
                f"{RIGHTS[action]} on {self.place.bucket}/{self.place.prefix}*. "
                "Nothing was committed.",
                forbidden=True,
            )
        if word == "NoSuchKey":
            return LandingError(f"{self.place}: there is no {name} there.")
        if word in _FULL | _MEANINGS.keys():
            return self._meaning(action, word)
        return LandingError(
            f"{self.place}: the service refused to {action} {name} "
            f"({engine.first_line(error)}). Nothing was committed."
        )

    def _meaning(self, action: str, word: str) -> LandingError:
        said = _IS_FULL if word in _FULL else _MEANINGS[word]
        return LandingError(
            f"{self.place}: {said}. This was to {action} objects; nothing was committed."
        )

    def _unreachable(self, error: Exception) -> LandingError:
        from botocore import exceptions

        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return self.no_credentials()
        if isinstance(error, exceptions.ProfileNotFound):
            return LandingError(f"{self.place}: {error}. See ~/.aws/config.")
        where = self.endpoint or "Amazon S3"
        return LandingError(
            f"{self.place}: {where} cannot be reached ({engine.first_line(error)}), tried "
            "several times. Nothing was committed; run this again."
        )
