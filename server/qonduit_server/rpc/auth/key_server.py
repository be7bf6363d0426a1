# SPDX-License-Identifier: Apache-2.0
"""Fetch the public keys of an OIDC issuer over HTTP, with bounds in bytes and time for every step."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from qonduit_client import addresses

#: The largest response, and the longest time for one, in seconds.
MAX_BYTES: Final = 256 * 1024
FETCH_SECONDS: Final = 5.0
_MAX_KEYS: Final = 100
_MIN_RSA_BITS: Final = 2048
_DISCOVERY: Final = "/.well-known/openid-configuration"
#: The algorithms that tokens may use: asymmetric ones alone, so that no public key serves as a shared secret.
ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)


class KeyServerError(Exception):
    """The keys cannot be fetched; the message contains the cause."""


def fetch_keys(issuer: str, jwks_url: str = "") -> dict[str, jwt.PyJWK]:
    """Fetch the keys of an issuer, by their ids; the id of a key without one is empty.

    Args:
        issuer: the URL of the issuer, as in the claim `iss` of its tokens.
        jwks_url: the URL of its keys; found by discovery if it is empty.

    Raises:
        KeyServerError: the server does not answer in time, or with something other than keys.
    """
    if not jwks_url:
        configuration = _get(issuer.rstrip("/") + _DISCOVERY)
        if configuration.get("issuer") != issuer:
            raise KeyServerError(
                f"the discovery document is of the issuer {configuration.get('issuer')!r:.200}, not of {issuer!r:.200}"
            )
        jwks_url = configuration.get("jwks_uri")  # type: ignore[assignment]
        if not isinstance(jwks_url, str):
            raise KeyServerError("the discovery document has no jwks_uri")
    listed = _get(jwks_url).get("keys")
    if not isinstance(listed, list):
        raise KeyServerError(f"{jwks_url}: no JSON web key set")
    keys = [key for each in listed[:_MAX_KEYS] if (key := _usable(each)) is not None]
    if not keys:
        raise KeyServerError(f"{jwks_url}: no asymmetric key for signatures")
    return {key.key_id or "": key for key in keys}


def check_url(url: str) -> None:
    """Raise ValueError unless keys from a URL can be trusted: https, or http on this machine."""
    addresses.check_url(url)
    if "?" in url or "#" in url:
        raise ValueError(f"must be a URL without query and fragment, got {url!r:.200}")


def _usable(data: object) -> jwt.PyJWK | None:
    """Return a key that verifies signatures; None for other keys."""
    if not isinstance(data, dict) or data.get("use", "sig") != "sig" or not isinstance(data.get("kid", ""), str):
        return None
    try:
        key = jwt.PyJWK(data)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    if key.key_type == "RSA" and key.key.key_size < _MIN_RSA_BITS:
        return None
    return key


def _get(url: str) -> dict[str, Any]:
    """Return the JSON object at a URL. Redirects are not followed, and proxies are not used."""
    try:
        check_url(url)
        body = _body(url)
        content = json.loads(body)
    except KeyServerError:
        raise
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise KeyServerError(f"{url}: {error or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise KeyServerError(f"{url}: not a JSON object")
    return content


def _body(url: str) -> bytes:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=FETCH_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=FETCH_SECONDS)
    # A timeout of the socket bounds each read alone: a server that sends a byte now and then would hold it for hours.
    late = threading.Event()
    connected: list[socket.socket] = []

    def cut() -> None:
        late.set()
        # The connection gives its socket to a response without a length.
        for opened in (connection.sock, *connected):
            if opened is not None:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(FETCH_SECONDS, cut)
    timer.daemon = True
    timer.name = "oidc-fetch-timer"
    timer.start()
    try:
        connection.connect()
        connected.append(connection.sock)
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(MAX_BYTES + 1)
        if late.is_set():
            raise KeyServerError(f"{url}: no complete response in {FETCH_SECONDS:g} s")
        if response.status != http.client.OK:
            raise KeyServerError(f"{url}: status {response.status}")
        if len(body) > MAX_BYTES:
            raise KeyServerError(f"{url}: more than {MAX_BYTES} bytes")
        return body
    finally:
        timer.cancel()
        connection.close()
