# SPDX-License-Identifier: Apache-2.0
"""Log in to a server of the configuration file, and log out."""

from __future__ import annotations

import time
from collections.abc import Callable

from qonduit_client.errors import LoginFailed, LoginRequired, QonduitError
from qonduit_client.login.device_authorization import DeviceCode, request_code, wait_for_tokens
from qonduit_client.login.identity_provider import IdentityProvider, OAuthError
from qonduit_client.login.stored_login import Login, LoginFile, login_of, oidc_of
from qonduit_client.named_servers import NamedServer


def log_in(
    server: NamedServer,
    show: Callable[[DeviceCode], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Login:
    """Log in and store the tokens.

    Args:
        server: a server with a login.
        show: shows the user the code and the page on which to enter it.
        sleep: waits for a number of seconds between polls.

    Raises:
        LoginFailed: the login was denied or not confirmed in time, or the identity provider is faulty.
        ServerUnavailable: the identity provider is unreachable.
    """
    provider = IdentityProvider(oidc_of(server))
    code = request_code(provider)
    show(code)
    tokens = wait_for_tokens(provider, code, sleep=sleep)
    login = login_of(server, tokens, time.time())
    file = LoginFile(server)
    with file.lock():
        file.write(login)
    return login


def log_out(server: NamedServer) -> bool:
    """Delete the stored tokens, and revoke them at the identity provider (RFC 7009).

    Returns:
        Whether the provider has revoked the tokens; False if it offers no revocation.

    Raises:
        LoginRequired: there is no login.
        QonduitError: the tokens are deleted, but could not be revoked.
    """
    file = LoginFile(server)
    with file.lock():
        try:
            login = file.read()
        except (LoginRequired, LoginFailed):
            file.delete()  # also one that cannot be read
            raise
        file.delete()
    provider = IdentityProvider(oidc_of(server))
    try:
        if provider.endpoint("revocation_endpoint") is None:
            return False
        # The refresh token first: it is valid for longer, and providers revoke its access tokens with it.
        for kind in ("refresh_token", "access_token"):
            if token := getattr(login, kind):
                provider.post("revocation_endpoint", {"token": token, "token_type_hint": kind})
    except OAuthError as error:
        if error.code == "unsupported_token_type":  # access tokens that are JWTs cannot be revoked
            return True
        raise LoginFailed(f"the tokens are deleted here, but not revoked: {error.description}") from None
    except QonduitError as error:
        error.message = f"the tokens are deleted here, but not revoked: {error.message}"
        error.args = (error.message,)
        raise
    return True
