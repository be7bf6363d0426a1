# SPDX-License-Identifier: Apache-2.0
"""The token of a login: a function that returns the current access token, and refreshes it before it expires."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from qonduit_client.errors import LoginFailed, LoginRequired, QonduitError, ServerUnavailable
from qonduit_client.login.stored_login import (
    LOCK_TIMEOUT,
    Login,
    LoginFile,
    login_of,
    login_required,
    oidc_of,
    remedy_of,
)
from qonduit_client.named_servers import NamedServer

#: Seconds without another attempt after a refresh failed.
_PAUSE: Final = 5.0


class LoginToken:
    """Returns the access token of a server's stored login. Thread-safe.

    A token is refreshed before it expires; processes that share the login refresh it once. If that fails, the token is
    used until it expires.

    Args:
        server: a server with a login.
        now: seconds since the epoch.

    Attributes:
        remedy: the next step if the server rejects the token.
    """

    def __init__(self, server: NamedServer, *, now: Callable[[], float] = time.time) -> None:
        self.remedy = remedy_of(server)
        self._server = server
        self._file = LoginFile(server)
        self._now = now
        self._login: Login | None = None
        self._lock = threading.Lock()
        self._problem: QonduitError | None = None
        self._retry_at = 0.0

    def fresh(self) -> bool:
        """Return whether the next call returns at once, without reading files or calling the identity provider."""
        login = self._login
        return login is not None and not login.due(self._now())

    def __call__(self) -> str:
        """Return the current access token.

        Raises:
            LoginRequired: there is no login, or it cannot be refreshed any more.
            LoginFailed: the identity provider or the file of the login is faulty.
            ServerUnavailable: the token has expired and the identity provider is unreachable.
        """
        login = self._login
        if login is not None and not login.due(self._now()):
            return login.access_token
        # A valid token is used while another thread refreshes it.
        if not self._lock.acquire(blocking=login is None or login.expired(self._now())):
            assert login is not None
            return login.access_token
        try:
            login = self._file.read()  # another process may have refreshed it
            if login.due(self._now()):
                login = self._refreshed(login)
            self._login = login
            return login.access_token
        finally:
            self._lock.release()

    def _refreshed(self, login: Login) -> Login:
        expired = login.expired(self._now())
        if not login.refresh_token:
            if expired:
                raise login_required(self._server, f"the login to {self._server.name!r} has expired")
            return login
        if self._problem is None or self._now() >= self._retry_at:
            try:
                login = refresh(self._server, self._file, wait=expired, now=self._now)
            except (LoginFailed, LoginRequired, ServerUnavailable) as error:
                self._problem, self._retry_at = error, self._now() + _PAUSE
            else:
                self._problem = None
        if self._problem is not None and expired:
            raise copy.copy(self._problem) from None
        return login


def refresh(server: NamedServer, file: LoginFile, *, wait: bool, now: Callable[[], float] = time.time) -> Login:
    """Refresh a stored login, unless another process has just done so.

    Args:
        server: a server with a login.
        file: the file of the login.
        wait: whether to wait for another process that refreshes it.
        now: seconds since the epoch.

    Raises:
        LoginRequired: the identity provider no longer accepts the login.
        LoginFailed: its response is invalid, or another process holds the lock.
        ServerUnavailable: it is unreachable.
    """
    from qonduit_client.login.device_authorization import audience_of
    from qonduit_client.login.identity_provider import IdentityProvider, OAuthError
    from qonduit_client.login.tokens import request_tokens

    oidc = oidc_of(server)
    with file.lock(LOCK_TIMEOUT if wait else 0.0):
        login = file.read()
        if not login.due(now()) or not login.refresh_token:
            return login
        form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, **audience_of(oidc)}
        try:
            tokens = request_tokens(IdentityProvider(oidc), form, now=now())
        except OAuthError as error:
            if error.code != "invalid_grant":
                raise LoginFailed(f"{oidc.issuer} refuses to refresh the login: {error.description}") from None
            file.write(replace(login, refresh_token=""))  # later calls do not ask again
            raise login_required(server, f"the login to {server.name!r} has expired or was revoked") from None
        login = login_of(server, tokens, now(), login)
        file.write(login)
        return login


def needs_refresh(server: NamedServer | str) -> bool:
    """Return whether calls to a server begin with a refresh of its login.

    Raises:
        LoginRequired: there is no login to a server with one.
    """
    return isinstance(server, NamedServer) and server.oidc is not None and LoginFile(server).read().due(time.time())
