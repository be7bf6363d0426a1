# SPDX-License-Identifier: Apache-2.0
"""The connection of a server or a machine to the message broker: one thread sends, one receives.

The link is lossy: messages are lost while the broker is away, and with its restart. Both ends repeat what matters
(`machines`, `machine`). In return no message needs a disk at the broker, and none waits there for a process that is
gone: every queue is exclusive to the connection of its process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import kombu
import structlog
from amqp.exceptions import ResourceLocked
from google.protobuf.message import DecodeError

from qonduit_server.execution.celery.messages import HELLO_EXCHANGE, STALL_SECONDS, Outgoing

_log = structlog.get_logger("qonduit.broker")

#: The interval of the heartbeats of AMQP: the broker closes a connection after two missing ones.
_AMQP_HEARTBEAT_SECONDS: Final = 10
#: The time limit of one connection attempt, and the pause after a failed one.
_CONNECT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.5
_DIRECTIONS: Final = ("receiver", "sender")
#: The number of messages that the broker sends ahead.
_PREFETCH: Final = 64
_JOIN_SECONDS: Final = 5.0

#: A fanout exchange: a queue that is bound to it receives every message.
HELLOS: Final = kombu.Exchange(HELLO_EXCHANGE, type="fanout", durable=True)


def own_queue(name: str, *, hellos: bool = False) -> kombu.Queue:
    """Return a queue that ends with the connection which declares it."""
    bound = {"exchange": HELLOS} if hellos else {}
    return kombu.Queue(name, **bound, routing_key=name, exclusive=True, durable=False, auto_delete=True)


def tls_options(url: str, authorities: str) -> dict[str, Any] | None:
    """Return the options of TLS for a URL amqps: the certificate of the broker is verified, with its host name.

    By default, the library verifies neither.
    """
    if not url.startswith("amqps://"):
        return None
    context = {"check_hostname": True, "cafile": authorities or None}
    return {"context": context, "server_hostname": None}  # None: the host name of the URL


class Endpoint(Protocol):
    """What uses a link. All methods are thread-safe; the link calls them from its threads."""

    def outgoing(self) -> Sequence[Outgoing]:
        """Return the messages to send now. Called again after `wake`, and every second."""

    def receive(self, body: bytes) -> None:
        """Handle a message. May block, which stops the receipt of further messages."""

    def away(self, peer: str) -> None:
        """Handle that the queue of a peer does not exist."""

    def connected(self) -> None:
        """Handle that messages can be received from now on: for the first time, or again."""


class BrokerLink:
    """Two connections to the broker that are made again whenever they break.

    Use: `start()`, ..., `stop()`.

    Args:
        url: the URL of the broker, for example "amqp://user@host//". It is never logged: it may contain a password.
        queue: the queue to receive.
        endpoint: what sends and receives.
        encode: returns headers, properties and body of a message of tasks (the format of Celery).
        authorities: the file of the CAs of the broker's certificate; default: those of the system.
        tick_seconds: the longest time between two calls of `Endpoint.outgoing`.
    """

    def __init__(
        self,
        url: str,
        queue: kombu.Queue,
        endpoint: Endpoint,
        *,
        encode: Callable[[Outgoing], tuple[dict[str, Any], dict[str, Any], bytes]] | None = None,
        authorities: str = "",
        tick_seconds: float = 1.0,
    ) -> None:
        self._url = url
        self._authorities = authorities
        self._tls = tls_options(url, authorities)
        self._queue = queue
        self._endpoint = endpoint
        self._encode = encode
        self._tick_seconds = tick_seconds
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._receiving = threading.Event()
        self._lock = threading.Lock()
        #: The directions without a connection, and whether the log contains that the broker is away.
        self._missing = set(_DIRECTIONS)
        self._reported_away = False
        self._threads = [
            threading.Thread(target=self._keep, args=(name, work), name=f"broker-{name}", daemon=True)
            for name, work in zip(_DIRECTIONS, (self._receive, self._send), strict=True)
        ]

    def start(self) -> None:
        """Connect in the background."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Ask the endpoint for messages to send."""
        self._wake.set()

    @property
    def receiving(self) -> bool:
        """Whether the queue exists and is consumed."""
        return self._receiving.is_set()

    def use_broker(self, url: str) -> None:
        """Use another URL from the next connection on."""
        self._url, self._tls = url, tls_options(url, self._authorities)

    def stop(self) -> None:
        """Send what the endpoint has to send now, and end both threads."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)

    def _keep(self, name: str, work: Callable[[kombu.Connection], None]) -> None:
        """Run one direction until `stop`, with a new connection after each failure."""
        while not self._stopping.is_set():
            connection = kombu.Connection(
                self._url,
                heartbeat=_AMQP_HEARTBEAT_SECONDS,
                connect_timeout=_CONNECT_SECONDS,
                ssl=self._tls,
                transport_options={"read_timeout": STALL_SECONDS, "write_timeout": STALL_SECONDS},
            )
            try:
                connection.connect()
                work(connection)
            except (*connection.connection_errors, *connection.channel_errors, ResourceLocked) as error:
                self._log_away(name, connection, error)
                with suppress(Exception):  # without the handshake, for which a broken connection waits in vain
                    connection.collect()
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                with suppress(Exception):
                    connection.close()

    def _log_connected(self, name: str, connection: kombu.Connection) -> None:
        """Log, once for both directions, that the broker permits what they need."""
        with self._lock:
            self._missing.discard(name)
            if self._missing:
                return
            self._reported_away = False
        _log.info("broker connected", broker=connection.as_uri())

    def _log_away(self, name: str, connection: kombu.Connection, error: Exception) -> None:
        """Log, once for both directions and until both work again, that one has failed."""
        with self._lock:
            self._missing.add(name)
            if self._reported_away or self._stopping.is_set():
                return
            self._reported_away = True
        _log.warning("broker away", broker=connection.as_uri(), why=str(error)[:200])

    def _receive(self, connection: kombu.Connection) -> None:
        """Receive until `stop`."""

        def handle(message: kombu.Message) -> None:
            body = message.body
            try:
                self._endpoint.receive(body if isinstance(body, bytes) else body.encode())
            except DecodeError:
                _log.warning("message dropped: it cannot be read", queue=self._queue.name, size=len(body))
            message.ack()

        channel = connection.channel()
        consumer = kombu.Consumer(channel, [self._queue], no_ack=False, on_message=handle, prefetch_count=_PREFETCH)
        try:
            with consumer:
                self._log_connected("receiver", connection)
                self._endpoint.connected()
                self._receiving.set()
                self._wake.set()
                checked = time.monotonic()
                while not self._stopping.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=1.0)
                    if time.monotonic() - checked >= _AMQP_HEARTBEAT_SECONDS / 4:
                        connection.heartbeat_check()
                        checked = time.monotonic()
        finally:
            self._receiving.clear()

    def _send(self, connection: kombu.Connection) -> None:
        """Send until `stop`; messages that are sent then still leave."""
        HELLOS(connection).declare()
        plain = connection.channel()
        checked = connection.channel()
        checked.confirm_select()
        self._log_connected("sender", connection)
        returned: list[str] = []
        checked.events["basic_return"].add(lambda error, exchange, key, message: returned.append(key))
        last = False
        while not last:
            self._wake.wait(self._tick_seconds)
            self._wake.clear()
            last = self._stopping.is_set()
            for outgoing in self._endpoint.outgoing():
                self._publish(plain, checked, outgoing)
                if outgoing.peer and outgoing.queue in returned:
                    self._endpoint.away(outgoing.peer)
                returned.clear()
            with suppress(TimeoutError):
                connection.drain_events(timeout=0)  # reads the heartbeats of the broker
            connection.heartbeat_check()

    def _publish(self, plain: Any, checked: Any, outgoing: Outgoing) -> None:
        """Publish one message; with a peer, wait until the broker has routed or returned it."""
        if outgoing.message_id:
            assert self._encode is not None
            headers, properties, body = self._encode(outgoing)
            message = plain.prepare_message(
                body, headers=headers, content_type="application/json", content_encoding="utf-8", properties=properties
            )
            plain.basic_publish(message, exchange="", routing_key=outgoing.queue)
            return
        properties = {"delivery_mode": 1}
        channel = checked if outgoing.peer else plain
        message = channel.prepare_message(
            outgoing.body,
            content_type="application/octet-stream",
            content_encoding="binary",
            properties=properties,
        )
        if outgoing.peer:
            channel.basic_publish_confirm(
                message, exchange="", routing_key=outgoing.queue, mandatory=True, confirm_timeout=STALL_SECONDS
            )
        else:
            channel.basic_publish(
                message,
                exchange="" if outgoing.queue else HELLO_EXCHANGE,
                routing_key=outgoing.queue,
            )
