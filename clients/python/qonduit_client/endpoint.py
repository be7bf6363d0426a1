# SPDX-License-Identifier: Apache-2.0
"""A server as a client sees it: where it is, who calls, over what kind of connection, and how long it may be away."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import grpc

from qonduit_client.errors import ClientClosed, QonduitError, ServerUnavailable, TimedOut
from qonduit_client.retry import UNTRUSTED, Retry
from qonduit_client.status import error_of

DEFAULT_TARGET: Final = "127.0.0.1:50051"
#: A token, or what gives the present one; it is asked for each call and should be quick.
Token: TypeAlias = str | Callable[[], str]
#: False: plain text; True: TLS with the system's roots; else a PEM file of roots, or what gRPC makes of certificates.
Tls: TypeAlias = bool | str | os.PathLike[str] | grpc.ChannelCredentials

#: Reconnect quickly after a restart. The server sends something at least every 20 s on a stream, so that a ping is
#: only ever sent on a connection that is dead.
_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC would give all channels of a process to one server the same connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_OFF: Final = ("0", "false", "no", "off")
_ON: Final = ("1", "true", "yes", "on")
#: What gRPC's core says of handshakes that will fail again, and what that means.
_HANDSHAKES: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by one of the roots (tls=FILE names others), "
    "is not valid now, or is not for this name",
    "not in peer certificate": "its certificate is not for this name",
    "Hostname Verification Check failed": "its certificate is not for this name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS (tls=False)",
}


class Endpoint:
    """One server and the way to it. Both transports, the waiting and the asynchronous one, are made of it.

    Args:
        target: "HOST:PORT", without a port 50051; by default that of QONDUIT_SERVER, else 127.0.0.1:50051.
        token: sent with each call as `authorization: Bearer TOKEN`; by default that of QONDUIT_TOKEN.
        tls: how the connection is secured; by default as QONDUIT_TLS has it (0, 1, or a file of roots), else not.
        timeout: seconds a call may take, its repetitions included; also how long resuming a stream is tried.
        connect_timeout: the same, as long as the server has never answered.
        retry: how long to wait between attempts.

    Raises:
        ValueError: the target or the token is none; or the token would go through a network in plain text.
        OSError: the file of roots cannot be read.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
    ) -> None:
        self.target = with_port(target or os.environ.get("QONDUIT_SERVER") or DEFAULT_TARGET)
        self.retry = retry or Retry()
        self.timeout = timeout
        self._connect_timeout = connect_timeout
        self._answered = False
        self._process = os.getpid()
        self._token = os.environ.get("QONDUIT_TOKEN") or None if token is None else token
        if isinstance(self._token, str):
            _bearer(self._token)
        if tls is None:
            tls = tls_of(os.environ.get("QONDUIT_TLS", ""))
        local = is_local(self.target)
        self.credentials = _credentials(tls)
        self._secure = self.credentials is not None
        if self._token is not None and tls is None and not local:
            raise ValueError(
                f"a token would be sent to {self.target} in plain text, for everybody on the way to read: use tls=True "
                "(or tls=FILE with the roots of its certificate), or say tls=False if the way is safe"
            )
        self.options = list(_OPTIONS)
        if local:
            self.options.append(("grpc.enable_http_proxy", 0))  # a proxy never leads back to this machine

    @property
    def patience(self) -> float:
        """Seconds that a server may be away before that is an error."""
        return self.timeout if self._answered else min(self.timeout, self._connect_timeout)

    def answered(self) -> None:
        """Note that the server has answered."""
        self._answered = True

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of every call."""
        if self._token is None:
            return ()
        return (("authorization", _bearer(self._token if isinstance(self._token, str) else self._token())),)

    def check_process(self) -> None:
        """Raise an error in a process that was forked after this client was made: gRPC would never answer there."""
        if os.getpid() != self._process:
            raise QonduitError("this client was made before the process was forked: make one in each process")

    def closed(self) -> ClientClosed:
        """Return the error of all calls on a connection that its user has closed."""
        return ClientClosed(f"the client of {self.target} was closed; jobs go on")

    def error(self, refused: grpc.RpcError) -> QonduitError:
        """Return the error of a status, in words that fit this connection."""
        error = error_of(refused)
        if error.reason or not isinstance(error, ServerUnavailable | TimedOut):
            self._answered = True
            return error
        if not isinstance(error, ServerUnavailable) or self._answered:
            return error
        error.message = f"no server at {self.target}"
        for said, meaning in _HANDSHAKES.items():
            if self._secure and said in str(refused.details()):
                error.message = f"the server at {self.target} is not trusted: {meaning}"
                error.reason = UNTRUSTED
        if not self._secure and "Socket closed" in str(refused.details()):
            error.message += " in plain text: what is there closes the connection; use tls=True if it speaks TLS"
        error.args = (error.message,)
        return error


def tls_of(text: str) -> bool | Path | None:
    """Return the value of QONDUIT_TLS: nothing, 0 or 1 (or no, yes ...), or a file of roots."""
    word = text.strip().lower()
    if word in _OFF or word in _ON:
        return word in _ON
    return Path(text.strip()).expanduser() if word else None


def with_port(target: str) -> str:
    """Add the usual port to a host that comes without one.

    Raises:
        ValueError: it is an address of the web.
    """
    if target.startswith(("http://", "https://", "grpc://", "grpcs://")):
        scheme, _, rest = target.partition("://")
        told = f"{rest.strip('/')!r} and tls=True" if scheme.endswith("s") else repr(rest.strip("/"))
        raise ValueError(f"a server is named as HOST:PORT: instead of {target!r}, pass {told}")
    host, colon, port = target.rpartition(":")
    if "/" in target or (colon and port.isdigit() and host and not (":" in host and not host.endswith("]"))):
        return target
    if target.count(":") > 1 and not target.startswith("["):
        target = f"[{target}]"
    return f"{target}:50051"


def is_local(target: str) -> bool:
    """Whether this machine is meant: loopback, or a socket in its file system."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:")
    host = host.rpartition(":")[0].strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bearer(token: object) -> str:
    """Return the value of the header, without whitespace around the token (a file's last line break)."""
    text = token.strip() if isinstance(token, str) else ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a token is a text of visible ASCII characters")  # which one it was is nobody's business
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
        raise ValueError(f"{tls} holds no certificate in PEM form")
    return grpc.ssl_channel_credentials(roots)
