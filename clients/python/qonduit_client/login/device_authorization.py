# SPDX-License-Identifier: Apache-2.0
"""The device authorization flow (RFC 8628): the user enters a code in a browser, on any machine, and confirms it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qonduit_client.addresses import check_url
from qonduit_client.errors import LoginFailed, ServerUnavailable
from qonduit_client.login.identity_provider import IdentityProvider, OAuthError, printable
from qonduit_client.login.tokens import Tokens, request_tokens
from qonduit_client.named_servers import OidcClient

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds between polls: the default of RFC 8628, and what the client accepts of a provider.
_INTERVAL, _LEAST_INTERVAL, _MOST_INTERVAL = 5.0, 1.0, 60.0
#: Seconds that `slow_down` adds to the interval.
_SLOWER: Final = 5.0
#: The longest wait for the user in seconds.
_MOST_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class DeviceCode:
    """A pending login.

    Attributes:
        user_code: the code that the user enters.
        verification_uri: the page on which the user enters it.
        verification_uri_complete: the same page with the code filled in; may be empty.
        expires_in: seconds for which the code is valid.
        interval: seconds between polls.
        device_code: the secret that identifies the login to the provider.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float
    device_code: str = field(repr=False)


def audience_of(client: OidcClient) -> Mapping[str, str]:
    """Return the fields that request tokens for a server: `audience`, and `resource` (RFC 8707), which is a URI."""
    return {"audience": client.audience, "resource": client.audience if "://" in client.audience else ""}


def request_code(provider: IdentityProvider) -> DeviceCode:
    """Begin a login.

    Raises:
        LoginFailed: the provider refuses the client or the scope, or its response is invalid.
        ServerUnavailable: the provider is unreachable.
    """
    client = provider.client
    form = {"scope": client.scope, **audience_of(client)}
    try:
        response = provider.post("device_authorization_endpoint", form)
    except OAuthError as error:
        raise LoginFailed(
            f"{client.issuer} refuses the login of client {client.client_id!r} for scope {client.scope!r}: "
            f"{error.description}"
        ) from None
    code = DeviceCode(
        _text(response, "user_code"),
        _text(response, "verification_uri"),
        _text(response, "verification_uri_complete", optional=True),
        _seconds(response, "expires_in", None, 1.0, _MOST_SECONDS),
        _seconds(response, "interval", _INTERVAL, _LEAST_INTERVAL, _MOST_INTERVAL),
        _text(response, "device_code"),
    )
    for url in (code.verification_uri, code.verification_uri_complete):
        try:
            check_url(url or code.verification_uri)
        except ValueError as error:
            raise LoginFailed(f"verification_uri of {client.issuer} {error}") from None
    return code


def wait_for_tokens(
    provider: IdentityProvider,
    code: DeviceCode,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Tokens:
    """Poll until the user has confirmed the login.

    Args:
        provider: the identity provider.
        code: the pending login.
        sleep: waits for a number of seconds.
        clock: a monotonic clock in seconds.
        now: seconds since the epoch.

    Raises:
        LoginFailed: the user denied the login, the code expired, or the provider's response is invalid.
        ServerUnavailable: the provider was unreachable until the code expired.
    """
    interval = code.interval
    deadline = clock() + code.expires_in
    form = {"grant_type": _GRANT, "device_code": code.device_code, **audience_of(provider.client)}
    unavailable: ServerUnavailable | None = None
    while clock() + interval < deadline:
        sleep(interval)
        try:
            return request_tokens(provider, form, now=now())
        except ServerUnavailable as error:
            # RFC 8628, section 3.5: poll less often after a timeout.
            unavailable, interval = error, min(2 * interval, _MOST_INTERVAL)
        except OAuthError as error:
            unavailable = None
            if error.code == "slow_down":
                interval += _SLOWER
            elif error.code == "access_denied":
                raise LoginFailed(f"the login was denied at {provider.client.issuer}") from None
            elif error.code == "expired_token":
                break
            elif error.code != "authorization_pending":
                raise LoginFailed(f"{provider.client.issuer} refuses the login: {error.description}") from None
    if unavailable is not None:
        raise unavailable
    raise LoginFailed(f"the code expired: it was not confirmed within {code.expires_in:g} s")


def _text(response: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    value = response.get(name)
    if optional and value is None:
        return ""
    # The user reads it on a terminal.
    if not isinstance(value, str) or not value or len(value) > 2048 or not value.isprintable():
        raise LoginFailed(f"{name} in the response of the identity provider is not valid")
    return value


def _seconds(response: Mapping[str, Any], name: str, otherwise: float | None, least: float, most: float) -> float:
    value = response.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value == value:
        raise LoginFailed(f"{name} in the response of the identity provider must be seconds, got {printable(value)!r}")
    return min(max(float(value), least), most)
