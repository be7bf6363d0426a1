# SPDX-License-Identifier: Apache-2.0
"""The connection settings of a server: target, token, TLS and timeouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc

from qonduit_client.addresses import is_local, with_port
from qonduit_client.errors import ClientClosed, QonduitError, ServerUnavailable, TimedOut
from qonduit_client.named_servers import NamedServer, config_path, is_name, resolve
from qonduit_client.requests import Request
from qonduit_client.retry import UNTRUSTED, Retry
from qonduit_client.status import error_of
from qonduit_client.token_file import TokenFile

#: A token, or a function that returns the current one; it is called for each call and should be fast.
Token: TypeAlias = str | Callable[[], str]
#: False: plain text; True: TLS with the system's CAs; else a CA bundle (PEM file), or gRPC channel credentials.
Tls: TypeAlias = bool | str | os.PathLike[str] | grpc.ChannelCredentials

#: Reconnect quickly after a restart. The server sends a message at least every 20 s on a stream, so gRPC sends
#: keepalive pings on dead connections only.
_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # By default, gRPC shares one connection between all channels of a process to a server.
    ("grpc.use_local_subchannel_pool", 1),
)
_OFF: Final = ("0", "false", "no", "off")
_ON: Final = ("1", "true", "yes", "on")
#: Error texts of gRPC's core for handshakes that fail permanently, and their meaning.
_HANDSHAKES: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by a trusted CA (tls=FILE trusts another), "
    "is expired, or is for another name",
    "not in peer certificate": "its certificate is for another name",
    "Hostname Verification Check failed": "its certificate is for another name",
    "WRONG_VERSION_NUMBER": "it does not use TLS (tls=False)",
}


class Endpoint:
    """Base class of the blocking and the asynchronous transport: one server and its connection settings.

    Args:
        target: "HOST:PORT" (the default port is 50051), or "ipv4:HOST:PORT,HOST:PORT" for several servers of one
            database, or a server of the configuration file, or its name; by default QONDUIT_SERVER, then the default
            server of the configuration file, else 127.0.0.1:50051.
        token: sent with each call as `authorization: Bearer TOKEN`; by default the token file or the login of the named
            server, else QONDUIT_TOKEN.
        tls: how the connection is secured; by default that of the named server, then QONDUIT_TLS (0, 1, or a CA
            bundle), else plain text.
        timeout: seconds per call, including retries; also the maximum time to resume a stream.
        connect_timeout: the same, until the server's first response.
        retry: the backoff between attempts.
        project: the owner of new jobs and deployments that name none; by default that of the named server.

    Raises:
        ValueError: target or token is invalid, or the token would cross a network in plain text.
        ConfigInvalid: the configuration file is required and not valid.
        OSError: the CA bundle cannot be read.
    """

    def __init__(
        self,
        target: str | NamedServer | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
        project: str | None = None,
    ) -> None:
        found = resolve(target)
        self.server = found if isinstance(found, NamedServer) else None
        self._project = project if project is not None else self.server.project if self.server else ""
        self._unnamed = found if isinstance(found, str) and is_name(found) else ""
        self.target = with_port(found) if isinstance(found, str) else found.target
        self.retry = retry or Retry()
        self.timeout = timeout
        self._connect_timeout = connect_timeout
        self._reachable = False
        self._process = os.getpid()
        if token is None:
            token = (self.server and _token_of(self.server)) or os.environ.get("QONDUIT_TOKEN") or None
        self._token = token
        if isinstance(self._token, str):
            _bearer(self._token)
        if tls is None and self.server is not None:
            tls = self.server.tls
        if tls is None:
            tls = tls_of(os.environ.get("QONDUIT_TLS", ""))
        local = is_local(self.target)
        self.credentials = _credentials(tls)
        self._secure = self.credentials is not None
        if self._token is not None and tls is None and not local:
            raise ValueError(
                f"refusing to send a token to {self.target} in plain text: use tls=True (or tls=FILE with a CA "
                "bundle), or pass tls=False if the network is trusted"
                + (f"; or set tls in [servers.{self.server.name}] of {self.server.config}" if self.server else "")
            )
        self.options = list(_OPTIONS)
        if local:
            self.options.append(("grpc.enable_http_proxy", 0))  # local connections do not use a proxy

    def message_of(self, request: Request[Any]) -> Any:
        """Return the message to send. A job or deployment to create has the project of the client by default."""
        if request.created is not None:
            request.created.project = self._project
        return request.message

    @property
    def max_outage(self) -> float:
        """Seconds for which the server may be unreachable before calls fail."""
        return self.timeout if self._reachable else min(self.timeout, self._connect_timeout)

    def mark_reachable(self) -> None:
        """Record that the server has responded."""
        self._reachable = True

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of every call."""
        if self._token is None:
            return ()
        return (("authorization", _bearer(self._token if isinstance(self._token, str) else self._token())),)

    @property
    def renews_token(self) -> bool:
        """Whether the next call may have another token than the last one."""
        return callable(self._token)

    @property
    def token_due(self) -> bool:
        """Whether `metadata` may block, because the token of a login must be read or refreshed first."""
        fresh = getattr(self._token, "fresh", None)
        return fresh is not None and not fresh()

    def check_process(self) -> None:
        """Raise an error in a process that was forked after the client was created: gRPC calls would hang there."""
        if os.getpid() != self._process:
            raise QonduitError("this client was created before the process was forked: create one in each process")

    def closed(self) -> ClientClosed:
        """Return the error of calls on a closed client."""
        return ClientClosed(f"the client of {self.target} was closed; jobs continue")

    def error(self, cause: grpc.RpcError) -> QonduitError:
        """Return the exception of a status, with a message that describes the connection problem."""
        error = error_of(cause)
        if error.reason or not isinstance(error, ServerUnavailable | TimedOut):
            self._reachable = True
            if error.status == "UNAUTHENTICATED" and (remedy := getattr(self._token, "remedy", "")):
                error.metadata["remedy"] = remedy
                _extend(error, f": {remedy}")
            return error
        if not isinstance(error, ServerUnavailable) or self._reachable:
            return error
        error.message = f"no server at {self.target}"
        if self._unnamed:
            error.message += f" ({config_path()} contains no server named {self._unnamed!r})"
        for said, meaning in _HANDSHAKES.items():
            if self._secure and said in str(cause.details()):
                error.message = f"the server at {self.target} is not trusted: {meaning}"
                error.reason = UNTRUSTED
        if not self._secure and "Socket closed" in str(cause.details()):
            error.message += " in plain text: the peer closes the connection; use tls=True if it requires TLS"
        _extend(error)
        return error


def tls_of(text: str) -> bool | Path | None:
    """Parse QONDUIT_TLS: empty, 0 or 1 (or no, yes ...), or a CA bundle."""
    word = text.strip().lower()
    if word in _OFF or word in _ON:
        return word in _ON
    return Path(text.strip()).expanduser() if word else None


def _extend(error: QonduitError, further: str = "") -> None:
    error.message += further
    error.args = (error.message,)


def _token_of(server: NamedServer) -> Token | None:
    if server.oidc is not None:
        from qonduit_client.login.login_token import LoginToken

        return LoginToken(server)
    return None if server.token_file is None else TokenFile(server)


def _bearer(token: object) -> str:
    """Return the value of the header, without surrounding whitespace of the token (such as a final line break)."""
    text = token.strip() if isinstance(token, str) else ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("token must consist of visible ASCII characters")  # the message must not contain the token
    return f"Bearer {text}"


def _credentials(tls: Tls | None) -> grpc.ChannelCredentials | None:
    if tls is None or tls is False:
        return None
    if tls is True:
        return grpc.ssl_channel_credentials()
    if isinstance(tls, grpc.ChannelCredentials):
        return tls
    roots = Path(tls).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in roots:
        raise ValueError(f"{tls} contains no PEM certificate")
    return grpc.ssl_channel_credentials(roots)
