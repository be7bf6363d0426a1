# SPDX-License-Identifier: Apache-2.0
"""Access to IBM's service: the credential, the access token, requests that are sent once, and errors.

Imported only in the process that calls IBM.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import jwt
from ibm_cloud_sdk_core import ApiException
from qiskit.exceptions import QiskitError
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import Account
from qiskit_ibm_runtime.api.auth import CloudAuth
from qiskit_ibm_runtime.api.client import RuntimeClient
from qiskit_ibm_runtime.api.client_parameters import ClientParameters
from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout
from urllib3.exceptions import NewConnectionError

from qonduit_server.process.redaction import Redaction
from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused, NotSent, VendorBusy, VendorError
from qonduit_server.providers.vendors.http_answers import retry_after

CHANNEL: Final = "ibm_quantum_platform"
#: A read of the service that takes longer has failed. The deadline of the call limits a submission.
_READ_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
#: The share of its lifetime for which an access token is used.
_USED_SHARE: Final = 0.8
_FORM: Final = 'use {"apikey": "...", "instance": "CRN"}'
#: The largest text of an answer that is quoted, in characters.
_QUOTED: Final = 500
#: What the SDK raises before and after it sends a request.
_SDK_ERRORS: Final = (QiskitError, RequestException, ApiException, ValueError, LookupError, TypeError, AttributeError)


class UnknownObject(CallRefused):
    """IBM does not know the job or the machine of a call: the status 404."""


class Credential(NamedTuple):
    """An API key of IBM Cloud, and the CRN of an instance; "" for the only instance of the account."""

    key: str
    instance: str = ""


def read_credential(text: str) -> Credential:
    """Read a credential: an API key, or JSON with `apikey` and `instance`. Raises CredentialRefused."""
    text = text.strip()
    if not text.startswith("{"):
        found = Credential(text)
    else:
        try:
            stated = json.loads(text)
        except ValueError as error:
            raise CredentialRefused(f"the credential is no valid JSON: {_FORM}") from error
        if unknown := sorted(stated.keys() - {"apikey", "instance"}):
            raise CredentialRefused(f"the credential has the unknown fields {unknown}: use apikey and instance")
        found = Credential(str(stated.get("apikey") or ""), str(stated.get("instance") or ""))
    if not found.key:
        raise CredentialRefused("the credential contains no API key: create one in IBM Cloud, and store it")
    if not found.key.isascii() or any(character.isspace() for character in found.key):
        raise CredentialRefused("the API key contains spaces or characters outside ASCII: copy it again")
    if found.instance and not found.instance.startswith("crn:"):
        raise CredentialRefused("the instance of the credential is no CRN: copy the CRN of the instance, crn:v1:...")
    return found


class Bearer(CloudAuth):  # type: ignore[misc]  # the SDK has no types
    """Adds the access token to requests, and renews it.

    The SDK sends the API key itself if it receives no token, and waits in a loop if the token is no JSON Web Token.
    """

    def __init__(self, credential: Credential) -> None:
        super().__init__(credential.key, credential.instance)
        self._token = ""
        self._renew_at = 0.0

    def get_headers(self) -> dict[str, str]:
        """Return the headers of a request, with a valid token."""
        if not self._token or time.monotonic() >= self._renew_at:
            self._renew()
        return {"Service-CRN": self.crn, "Authorization": f"Bearer {self._token}"}

    def redacted(self, text: str) -> str:
        """Return a text without the access token, which IBM may repeat in an error."""
        return Redaction(self._token).text(text)

    def forget(self) -> None:
        """Request another token for the next request."""
        self._token = ""

    def _renew(self) -> None:
        answer = self.tm.request_token()
        token = answer.get("access_token") if isinstance(answer, dict) else None
        try:
            # The service checks the signature; the client needs the lifetime alone.
            claims = jwt.decode(str(token), options={"verify_signature": False})
            lifetime = float(claims["exp"]) - float(claims["iat"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise CredentialRefused(
                "IBM's identity service returned an access token that is no JSON Web Token with a lifetime: check the "
                "API key, and the variable IAM_URL of the server if it is set",
                code="IAM",
            ) from error
        # Counted from its arrival, because the clocks of this machine and of IBM may differ.
        self._token, self._renew_at = str(token), time.monotonic() + lifetime * _USED_SHARE


class SentOnce(HTTPAdapter):  # type: ignore[misc]
    """Sends each request once, with a time limit for reads, and one job or session at most between two `allow_job`.

    The SDK repeats a submission up to five times after a status above 499. A repetition could be a second job.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        #: Whether a job or a session was sent, or the sending of one has begun.
        self.job_sent = False

    def allow_job(self) -> None:
        """Permit one submission."""
        self.job_sent = False

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """Send a request; see `HTTPAdapter`."""
        if request.method == "POST" and urlsplit(request.url or "").path.endswith(("/jobs", "/sessions")):
            if self.job_sent:
                raise RequestException("the SDK sent a submission again, which is not permitted", request=request)
            self.job_sent = True
        else:
            options["timeout"] = (_CONNECT_SECONDS, _READ_SECONDS)
        return super().send(request, *arguments, **options)


class Client(RuntimeClient):  # type: ignore[misc]
    """The SDK's client of the service, without its repetitions.

    Args:
        credential: with an instance.
        url: of the service; "" for that of the instance's region.
    """

    def __init__(self, credential: Credential, url: str) -> None:
        resolver = (lambda *_: url) if url else None
        account = Account(token=credential.key, instance=credential.instance)
        super().__init__(
            ClientParameters(CHANNEL, credential.key, account.url, credential.instance, url_resolver=resolver)
        )
        self.bearer = Bearer(credential)
        self.adapter = SentOnce()
        self._session.auth = self.bearer
        self._session.mount("http://", self.adapter)
        self._session.mount("https://", self.adapter)


class Service(QiskitRuntimeService):  # type: ignore[misc]
    """The SDK's service, for primitives: all of its requests are sent by one client, and its constructor sends none."""

    def __init__(self, credential: Credential, client: Client) -> None:
        self._instance = credential.instance
        self._client = client
        super().__init__(channel=CHANNEL, token=credential.key, instance=credential.instance)
        self._api_clients = {credential.instance: client}
        self._active_api_client = client

    def instances(self) -> Sequence[dict[str, Any]]:
        """Return the instance of the credential."""
        return [{"crn": self._instance, "plan": "", "name": "", "tags": [], "pricing_type": "unknown"}]

    def _discover_backends_from_instance(self, instance: str) -> list[tuple[str, bool]]:
        return []


def only_instance(key: str) -> str:
    """Return the CRN of the only instance of an account. Raises CredentialRefused if it has none, or several."""
    found = Account(token=key).list_instances()
    if len(found) == 1:
        return str(found[0]["crn"])
    named = ", ".join(f"{each['name']} ({each['crn']})" for each in found)
    raise CredentialRefused(
        f"the account has {len(found)} instances{': ' + named if named else ''}. Name one in the credential: {_FORM}"
    )


@contextmanager
def vendor_errors(client: Client | None = None, *, submits: bool = False) -> Iterator[None]:
    """Convert errors of the SDK to those of `VendorSession`.

    Args:
        client: makes the calls.
        submits: whether the calls submit a job.
    """
    if client is not None and submits:
        client.adapter.allow_job()
    try:
        yield
    except VendorError:
        raise
    except _SDK_ERRORS as error:
        sent = submits and client is not None and client.adapter.job_sent
        response = _response(error)
        converted = _converted(error, response, sent=sent, submits=submits)
        if client is not None:
            converted.message = client.bearer.redacted(converted.message)
            if response is not None and response.status_code == 401:
                client.bearer.forget()
        raise converted from error


def _converted(error: Exception, response: Response | None, *, sent: bool, submits: bool) -> VendorError:
    """Return the error of a call; `sent` if it may have submitted a job."""
    if response is not None and response.status_code >= 400:
        status, (message, code) = response.status_code, _reason(response)
        text = f"IBM answers with the status {status}: {message}"
        wait = retry_after(response.headers)
        if status in (401, 403) or (status == 400 and "/identity/token" in str(response.url)):
            return CredentialRefused(f"{text}. Check the API key, and that it has access to the instance", code=code)
        if status == 429:
            return VendorBusy(text, code=code, retry_after=wait)
        if status >= 500:
            kind = NotSent if submits and not sent else VendorError
            return kind(text, code=code, retry_after=wait)
        return (UnknownObject if status == 404 else CallRefused)(text, code=code)
    text = f"{type(error).__name__}: {error}"[:_QUOTED]
    unanswered = next((each for each in _causes(error) if isinstance(each, RequestException)), None)
    if unanswered is not None:
        if not sent or _not_connected(unanswered):
            return NotSent(f"IBM cannot be reached, or does not answer: {text}")
        return VendorError(f"no answer: {text}")
    if submits and not sent:
        return CallRefused(text, code="SDK")
    return VendorError(text)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that caused it, also where the SDK suppresses them."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(error: BaseException) -> Response | None:
    for each in _causes(error):
        found = getattr(each, "response", None) if isinstance(each, RequestException) else None
        found = each.http_response if isinstance(each, ApiException) else found
        if isinstance(found, Response):
            return found
    return None


def _reason(response: Response) -> tuple[str, str]:
    """Return the text and the code of an answer in one of IBM's forms."""
    try:
        stated = response.json()
    except (ValueError, RequestException):
        return response.reason or "", str(response.status_code)
    with suppress(LookupError, TypeError, AttributeError):
        first = stated["errors"][0]
        return str(first["message"])[:_QUOTED], str(first["code"])
    with suppress(LookupError, TypeError, AttributeError):
        return str(stated["errorMessage"])[:_QUOTED], str(stated["errorCode"])
    return str(stated)[:_QUOTED], str(response.status_code)


def _not_connected(error: RequestException) -> bool:
    """Return whether a request failed before its first byte was sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError)
