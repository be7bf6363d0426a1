# SPDX-License-Identifier: Apache-2.0
"""An OpenID Connect provider: its discovery document and endpoints, with bounds for each response.

The provider is a server that the configuration names, so its responses are checked like any input: 256 KiB and 10 s in
total for each, no redirects, encrypted except on this machine. No message contains a token.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from qonduit_client.addresses import check_url, is_loopback
from qonduit_client.errors import LoginFailed, ServerUnavailable
from qonduit_client.named_servers import OidcClient

#: Bytes and seconds of one response.
MOST_BYTES: Final = 256 * 1024
TIMEOUT: Final = 10.0
#: The reason of errors of an identity provider that is unreachable or overloaded.
UNAVAILABLE: Final = "IDENTITY_PROVIDER_UNAVAILABLE"
_SHOWN: Final = 300

_Result = TypeVar("_Result")


class OAuthError(Exception):
    """An error response of the identity provider (RFC 6749, section 5.2).

    Attributes:
        code: the error code, such as "access_denied".
        description: the code with the description of the provider, printable and of bounded length.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code = code
        self.description = f"{code}: {description}" if description else code


class IdentityProvider:
    """Calls the endpoints of one identity provider. Reads the discovery document when the first endpoint is called.

    Args:
        client: the issuer, and the client id that each call carries.
        timeout: seconds for each response.
    """

    def __init__(self, client: OidcClient, *, timeout: float = TIMEOUT) -> None:
        self.client = client
        self._timeout = timeout
        self._metadata: Mapping[str, Any] | None = None

    def endpoint(self, name: str) -> str | None:
        """Return the URL of an endpoint, or None if the provider has none.

        Raises:
            LoginFailed: the discovery document or the URL is invalid.
            ServerUnavailable: the provider is unreachable.
        """
        if self._metadata is None:
            self._metadata = self._discover()
        url = self._metadata.get(name)
        if url is None:
            return None
        self._check_endpoint(name, url)
        return str(url)

    def post(self, endpoint: str, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Send a form with the client id to an endpoint and return the response.

        Args:
            endpoint: the name of the endpoint in the discovery document.
            form: the fields; empty ones are omitted.

        Raises:
            OAuthError: the provider responded with an error code.
            LoginFailed: the provider lacks the endpoint, or its response is invalid.
            ServerUnavailable: the provider is unreachable.
        """
        url = self.endpoint(endpoint)
        if url is None:
            raise LoginFailed(f"the identity provider {self.client.issuer} offers no {endpoint}")
        fields = {"client_id": self.client.client_id, **{name: value for name, value in form.items() if value}}
        status, body = self._request(url, fields)
        if status == 200 and not body:
            return {}  # a revocation has no response
        content = self._json(url, status, body)
        if status == 200:
            return content
        code = content.get("error")
        if not isinstance(code, str) or not code:
            raise LoginFailed(f"{url} responded with HTTP status {status} and no error code")
        raise OAuthError(printable(code), printable(content.get("error_description", "")))

    def _discover(self) -> Mapping[str, Any]:
        issuer = self.client.issuer
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        status, body = self._request(url, None)
        if status != 200:
            raise LoginFailed(f"{url} responded with HTTP status {status}: check the issuer")
        metadata = self._json(url, status, body)
        # A document for another issuer would redirect the login (OpenID Connect Discovery, section 4.3).
        if metadata.get("issuer") != issuer:
            raise LoginFailed(
                f"{url} is for another issuer: expected {issuer!r}, got {printable(metadata.get('issuer'))!r}"
            )
        return metadata

    def _check_endpoint(self, name: str, url: object) -> None:
        try:
            check_url(str(url))
            if str(url).startswith("http:") and not self.client.issuer.startswith("http:"):
                raise ValueError(f"must be an https:// URL, got {url!r:.200}")
        except ValueError as error:
            raise LoginFailed(f"{name} of {self.client.issuer} {error}") from None

    def _json(self, url: str, status: int, body: bytes) -> Mapping[str, Any]:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise LoginFailed(f"{url} responded with HTTP status {status} and no JSON object")
        return content

    def _request(self, url: str, form: Mapping[str, str] | None) -> tuple[int, bytes]:
        """Send a request; return the status below 500 and the body."""
        import http.client

        try:
            status, body = _within(self._timeout, lambda gone: _exchange(url, form, self._timeout, gone))
        except TimeoutError:
            raise _unavailable(f"{url} did not respond within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            cause = printable(getattr(error, "reason", None) or error) or type(error).__name__
            raise _unavailable(f"no connection to the identity provider at {url}: {cause}") from None
        if len(body) > MOST_BYTES:
            raise LoginFailed(f"{url} responded with more than {MOST_BYTES} bytes")
        if 300 <= status < 400:
            raise LoginFailed(f"{url} redirects (HTTP status {status}), which is not allowed: check the issuer")
        if status == 429 or status >= 500:
            raise _unavailable(f"{url} responded with HTTP status {status}")
        return status, body


def printable(value: object) -> str:
    """Return a text of the provider for a message: printable characters only, so that it cannot control a terminal."""
    text = "" if value is None else str(value)
    return "".join(each for each in text[:_SHOWN] if each.isprintable())


def _unavailable(message: str) -> ServerUnavailable:
    return ServerUnavailable(message, reason=UNAVAILABLE)


def _within(seconds: float, work: Callable[[threading.Event], _Result]) -> _Result:
    """Run work in another thread and return its result.

    Timeouts of sockets bound one read, and name resolution has none. The thread ends on its own after a timeout.

    Raises:
        TimeoutError: the work did not end in time; it then finds the event set.
    """
    outcome: queue.SimpleQueue[tuple[_Result | None, Exception | None]] = queue.SimpleQueue()
    gone = threading.Event()

    def run() -> None:
        try:
            outcome.put((work(gone), None))
        except Exception as error:  # noqa: BLE001 - raised again in the calling thread
            outcome.put((None, error))

    threading.Thread(target=run, name="identity-provider", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        gone.set()
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _exchange(url: str, form: Mapping[str, str] | None, timeout: float, gone: threading.Event) -> tuple[int, bytes]:
    import ssl
    from urllib.parse import urlencode, urlsplit
    from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

    opener = OpenerDirector()  # without handlers for redirects and for error statuses
    if not is_loopback(urlsplit(url).hostname or ""):
        opener.add_handler(ProxyHandler())
    opener.add_handler(HTTPHandler())
    opener.add_handler(HTTPSHandler(context=ssl.create_default_context()))
    data = None if form is None else urlencode(form).encode()
    headers = {"Accept": "application/json", "User-Agent": "qonduit"}
    with opener.open(Request(url, data, headers), timeout=timeout) as response:
        body = bytearray()
        while len(body) <= MOST_BYTES and not gone.is_set() and (chunk := response.read1(65536)):
            body += chunk
        return response.status, bytes(body)
