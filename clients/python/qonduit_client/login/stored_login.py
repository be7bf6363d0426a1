# SPDX-License-Identifier: Apache-2.0
"""The tokens of logins, in files of the user: one for each server, with mode 0600 and a lock for refreshing.

The folder is `$XDG_STATE_HOME/qonduit/logins`, else `~/.local/state/qonduit/logins`. A login belongs to the settings
with which it was made: if the server or the identity provider of the name changes, its tokens are not sent there.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from qonduit_client.errors import LoginFailed, LoginRequired
from qonduit_client.login.tokens import Tokens
from qonduit_client.named_servers import NamedServer, OidcClient, base_folder
from qonduit_client.private_files import read_private, write_private

#: Seconds to wait for another process that refreshes the same login.
LOCK_TIMEOUT: Final = 30.0
_POLL: Final = 0.05


@dataclass(frozen=True)
class Login:
    """The tokens of a login and the settings for which they were issued.

    Attributes:
        target: the server for which the login was made.
        issuer: its identity provider.
        client_id: the client's id there.
        audience: as requested.
        scope: as granted.
        access_token: sent to the server.
        refresh_token: requests the next access token; may be empty.
        expires_at: when the access token expires, in seconds since the epoch; None if unknown.
        lifetime: seconds for which the access token was issued; None if unknown.
        claims: who the user is.
    """

    target: str
    issuer: str
    client_id: str
    audience: str
    scope: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float | None
    lifetime: float | None
    claims: Mapping[str, str]

    def expired(self, now: float) -> bool:
        """Return whether the access token has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def due(self, now: float) -> bool:
        """Return whether the access token should be refreshed: a minute, or a fifth of its lifetime, before expiry."""
        if self.expires_at is None:
            return False
        return now >= self.expires_at - min(60.0, (self.lifetime or 0.0) / 5)


def oidc_of(server: NamedServer) -> OidcClient:
    """Return how to log in to a server.

    Raises:
        LoginFailed: the server has no login.
    """
    if server.oidc is None:
        raise LoginFailed(
            f"server {server.name!r} has no login: add [servers.{server.name}.oidc] with issuer and client_id to "
            f"{server.config}"
        )
    return server.oidc


def login_of(server: NamedServer, tokens: Tokens, now: float, before: Login | None = None) -> Login:
    """Return the login with new tokens; a response to a refresh may omit the refresh token, scope and user."""
    oidc = oidc_of(server)
    return Login(
        target=server.target,
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        audience=oidc.audience,
        scope=tokens.scope or (before.scope if before else oidc.scope),
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token or (before.refresh_token if before else ""),
        expires_at=None if tokens.lifetime is None else now + tokens.lifetime,
        lifetime=tokens.lifetime,
        claims=tokens.claims or (before.claims if before else {}),
    )


def login_required(server: NamedServer, problem: str) -> LoginRequired:
    """Return the error of a server that requires a login."""
    return LoginRequired(
        f"{problem}: {remedy_of(server)}",
        status="UNAUTHENTICATED",
        reason="LOGIN_REQUIRED",
        metadata={"remedy": remedy_of(server)},
    )


def remedy_of(server: NamedServer) -> str:
    """Return the next step if a login is missing or rejected."""
    return f"run `qonduit login {server.name}`"


def state_folder() -> Path:
    """Return the folder of the files.

    Raises:
        LoginFailed: the user has no home directory.
    """
    folder = base_folder("XDG_STATE_HOME", ".local/state")
    if folder is None:
        raise LoginFailed("a login requires a folder for its tokens: set HOME or XDG_STATE_HOME")
    return folder / "qonduit" / "logins"


class LoginFile:
    """The file of the login of one server."""

    def __init__(self, server: NamedServer) -> None:
        self._server = server
        self.path = state_folder() / f"{server.name}.json"

    def read(self) -> Login:
        """Return the stored login.

        Raises:
            LoginRequired: no login is stored, or it was made for other settings.
            LoginFailed: the file cannot be read, or other users have access to it.
        """
        try:
            login = Login(**json.loads(read_private(self.path)))
            numbers = (login.expires_at, login.lifetime)
            if not all(each is None or isinstance(each, int | float) for each in numbers):
                raise ValueError("the times must be numbers")
        except FileNotFoundError:
            raise login_required(self._server, f"not logged in to {self._server.name!r}") from None
        except OSError as error:
            raise LoginFailed(str(error)) from None
        except (ValueError, TypeError):
            raise login_required(self._server, f"{self.path} is not valid") from None
        oidc = oidc_of(self._server)
        for name, now in (
            ("target", self._server.target),
            ("issuer", oidc.issuer),
            ("client_id", oidc.client_id),
            ("audience", oidc.audience),
        ):
            if getattr(login, name) != now:
                raise login_required(
                    self._server, f"{name} of {self._server.name!r} has changed since the login (it is now {now!r})"
                )
        return login

    def write(self, login: Login) -> None:
        """Store a login.

        Raises:
            LoginFailed: the file cannot be written.
        """
        try:
            write_private(self.path, json.dumps(asdict(login), indent=1))
        except OSError as error:
            raise LoginFailed(f"the login cannot be stored: {error}") from None

    def delete(self) -> None:
        """Delete the stored login, if there is one."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def lock(
        self,
        timeout: float = LOCK_TIMEOUT,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[None]:
        """Exclude other processes and threads that change the login.

        Args:
            timeout: seconds to wait for them.
            sleep: waits for a number of seconds.
            clock: a monotonic clock in seconds.

        Raises:
            LoginFailed: another process holds the lock for longer, or the lock file cannot be created.
        """
        file = self.path.with_suffix(".lock")
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LoginFailed(f"the login cannot be locked: {error}") from None
        try:
            deadline = clock() + timeout
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if clock() >= deadline:
                        raise LoginFailed(f"another process holds {file}; waited {timeout:g} s") from None
                    sleep(_POLL)
            yield
        finally:
            os.close(descriptor)  # releases the lock
