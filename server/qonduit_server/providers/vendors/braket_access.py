# SPDX-License-Identifier: Apache-2.0
"""Access to Amazon Braket: the credential, requests that are sent once, and errors.

Imported only in the process that calls Braket.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ProxyConnectionError,
)

from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused, NotSent, VendorBusy, VendorError
from qonduit_server.providers.vendors.http_answers import retry_after

#: The variable with the URL of another endpoint of Braket, as in Braket's SDK.
ENDPOINT: Final = "BRAKET_ENDPOINT"
_KEY, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
#: The largest text about a program that is quoted, in characters.
_QUOTED: Final = 500
_FORM: Final = f'use {{"{_KEY}": "...", "{_SECRET}": "...", "region": "us-east-1", "bucket": "amazon-braket-..."}}'
_FIELDS: Final = frozenset({_KEY, _SECRET, _TOKEN, "region", "bucket"})
#: A connection or a read that takes longer has failed. The deadline of a call ends the process before.
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
#: Codes of Amazon's services for a request whose signature or permission is not accepted.
_NOT_ACCEPTED: Final = frozenset(
    {
        *("AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature"),
        *("IncompleteSignatureException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException"),
        *("InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized"),
        *("OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    }
)
#: Codes of refusals that end by themselves: others use the device or the account now.
_BUSY: Final = frozenset(
    {
        *("ServiceQuotaExceededException", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"),
        *("TooManyRequestsException", "DeviceOfflineException"),
    }
)
#: The pause after such a refusal, unless the service names one, in seconds.
_BUSY_SECONDS: Final = {"ServiceQuotaExceededException": 60.0, "DeviceOfflineException": 300.0}
_UNAUTHORIZED: Final = (401, 403)
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500


class Credential(NamedTuple):
    """Keys of an AWS account, its region, and the bucket for the results of its tasks."""

    key: str
    secret: str
    token: str
    region: str
    bucket: str


def read_credential(text: str) -> Credential:
    """Read a credential from JSON. Raises CredentialRefused: what to change, without a value."""
    try:
        stated = json.loads(text)
    except ValueError as error:
        raise CredentialRefused(f"the credential is no valid JSON: {_FORM}") from error
    if not isinstance(stated, dict) or not all(isinstance(each, str) for each in stated.values()):
        raise CredentialRefused(f"the credential must be a JSON object of texts: {_FORM}")
    if unknown := sorted(stated.keys() - _FIELDS):
        raise CredentialRefused(f"the credential has the unknown fields {unknown}: {_FORM}")
    if missing := [name for name in (_KEY, _SECRET, "region", "bucket") if not stated.get(name)]:
        raise CredentialRefused(f"the credential has no {' and no '.join(missing)}: {_FORM}")
    if not stated["bucket"].startswith("amazon-braket-"):
        raise CredentialRefused("the bucket of the credential must begin with amazon-braket-, as Braket requires")
    return Credential(stated[_KEY], stated[_SECRET], stated.get(_TOKEN, ""), stated["region"], stated["bucket"])


class Clients:
    """The clients of Amazon's SDK for Braket and S3. They send each request once.

    Braket's own SDK wraps the same client. It takes four times as long to import, and waits for results in threads.

    Args:
        credential: the account.
    """

    def __init__(self, credential: Credential) -> None:
        session = boto3.Session(
            aws_access_key_id=credential.key,
            aws_secret_access_key=credential.secret,
            aws_session_token=credential.token or None,
            region_name=credential.region,
        )
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra="Qonduit",
        )
        self.braket: Final[Any] = session.client("braket", config=config, endpoint_url=os.environ.get(ENDPOINT))
        self._s3: Final[Any] = session.client("s3", config=config)

    def read_object(self, bucket: str, key: str, most_bytes: int) -> bytes | None:
        """Return an object of S3; None if it is larger."""
        found = self._s3.get_object(Bucket=bucket, Key=key)
        if int(found["ContentLength"]) > most_bytes:
            found["Body"].close()
            return None
        data: bytes = found["Body"].read()
        return data


@contextmanager
def vendor_errors() -> Iterator[None]:
    """Raise the errors of the SDK as those of a session."""
    try:
        yield
    except ClientError as error:
        raise _client_error(error) from error
    except (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError) as error:
        raise NotSent(f"Amazon Braket cannot be reached: {error}") from error
    except ParamValidationError as error:
        raise CallRefused(f"the SDK does not send the request: {error}", code="SDK") from error
    except BotoCoreError as error:
        raise VendorError(f"no answer of Amazon Braket: {error}", code=type(error).__name__) from error


def code_of(error: ClientError) -> str:
    """Return the code of an error of a service."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _client_error(error: ClientError) -> VendorError:
    code = code_of(error)
    details: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    status = int(details.get("HTTPStatusCode", 0))
    message = f"{error.operation_name}: {error.response.get('Error', {}).get('Message', '')} ({code})"
    for failed in (error.response.get("programSetValidationFailures") or ())[:1]:
        message += f"; program {failed.get('programIndex')}: {' '.join(failed.get('errors') or ())}"[:_QUOTED]
    wait = retry_after(details.get("HTTPHeaders", {})) or _BUSY_SECONDS.get(code, 0.0)
    if status == _TOO_MANY or code in _BUSY:
        return VendorBusy(message, code=code, retry_after=wait)
    if status >= _SERVER_ERRORS or not status:
        return VendorError(message, code=code, retry_after=wait)
    if status in _UNAUTHORIZED or code in _NOT_ACCEPTED:
        return CredentialRefused(message, code=code)
    return CallRefused(message, code=code)
