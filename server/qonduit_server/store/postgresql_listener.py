# SPDX-License-Identifier: Apache-2.0
"""Wakes between servers that share a PostgreSQL: NOTIFY inside the transaction, LISTEN on a connection of its own.

It hears also when the database falls silent: a server that hangs is asked for a sign of life, and when it gives none,
all connections to it are broken, so that nobody waits for it any longer.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from psycopg import pq
from sqlalchemy import Connection, Engine, text

from qonduit_server.store.database_health import DatabaseHealth, Part
from qonduit_server.store.engines import sever
from qonduit_server.store.notification_bus import EVERYTHING, Notification

_CHANNEL: Final = "qonduit"
#: A payload has at most 8000 bytes.
_IDS_A_PAYLOAD: Final = 350
#: More changed jobs than this in one transaction are told as "any job".
_MOST_IDS: Final = 3500
_RECONNECT_SECONDS: Final = 0.5
#: The first attempt after a lost connection.
_AT_ONCE_SECONDS: Final = 0.02
#: After so long without a notification the server is asked for a sign of life, and must give it within so long.
_QUIET_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = 2.5

_NOTIFY: Final = text(f"SELECT pg_notify('{_CHANNEL}', :payload)")


def payloads(server: str, notice: Notification) -> Iterator[str]:
    """Write a wake as notifications."""
    ids = sorted(notice.jobs)
    message: dict[str, Any] = {"s": server}
    for flag, name in (
        (notice.queue, "q"),
        (notice.cancels, "c"),
        (notice.catalogue, "d"),
        (len(ids) > _MOST_IDS, "a"),
    ):
        if flag:
            message[name] = 1
    if "a" in message:
        ids = []
    message["j"] = ids[:_IDS_A_PAYLOAD]
    yield json.dumps(message, separators=(",", ":"))
    for start in range(_IDS_A_PAYLOAD, len(ids), _IDS_A_PAYLOAD):
        yield json.dumps({"s": server, "j": ids[start : start + _IDS_A_PAYLOAD]}, separators=(",", ":"))


def read_payload(payload: str) -> tuple[str, Notification]:
    """Return the server that sent a notification, and the wake. Raises ValueError when it is not one of ours."""
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise ValueError("not a wake")
    return str(message.get("s")), Notification(
        queue="q" in message,
        cancels="c" in message,
        catalogue="d" in message,
        all_jobs="a" in message,
        jobs=frozenset(message.get("j", ())),
    )


class Silent(psycopg.OperationalError):
    """The server is there, and says nothing."""


class PostgresqlListener:
    """The thread that hears other servers.

    Args:
        engine: where to listen.
        deliver: is told what other servers changed; after a lost connection, that anything may have changed.
        presence: is told whether the database is there.
    """

    def __init__(self, engine: Engine, deliver: Callable[[Notification], None], health: DatabaseHealth) -> None:
        self.server = uuid.uuid4().hex
        self._engine = engine
        self._deliver = deliver
        self._health = health
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._work, name="store-listener", daemon=True)
        self._thread.start()
        # Wakes sent from now on must not be missed; with the database away they are made up for later.
        self._listening.wait(5.0)

    def tell(self, connection: Connection, notice: Notification) -> None:
        """Send a wake to the other servers when the transaction commits."""
        for payload in payloads(self.server, notice):
            connection.execute(_NOTIFY, {"payload": payload})

    def disown(self) -> None:
        """Hear of what was told until now as of another server's.

        For a commit whose answer was lost: a server that hung may carry it out once nobody here reckons with it.
        """
        self.server = uuid.uuid4().hex

    def close(self) -> None:
        """Stop listening."""
        if self._closing.is_set():
            return
        self._closing.set()
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _work(self) -> None:
        missed = False
        while not self._closing.is_set():
            heard = False
            try:
                connection = self._connect()
                try:
                    self._ask(connection.pgconn, b"LISTEN " + _CHANNEL.encode())
                    heard = True
                    self._health.found(Part.DATABASE)
                    if missed:
                        self._deliver(EVERYTHING)
                    self._listening.set()
                    self._listen(connection.pgconn)
                finally:
                    connection.close()
            except (psycopg.Error, OSError) as error:
                missed = True
                if isinstance(error, Silent) or not heard:
                    self._health.lost(Part.DATABASE, error, silent=isinstance(error, Silent))
                    sever(self._engine)
                # Idle connections broke with this one; readers shall not find that out one by one.
                self._engine.dispose()
                self._closing.wait(_RECONNECT_SECONDS if not heard else _AT_ONCE_SECONDS)

    def _connect(self) -> psycopg.Connection[Any]:
        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        return psycopg.connect(*arguments, **options, autocommit=True, connect_timeout=2, keepalives_idle=5)

    def _listen(self, server: pq.abc.PGconn) -> None:
        while not self._closing.is_set():
            ready, _, _ = select.select([server.socket, self._wake_read], [], [], _QUIET_SECONDS)
            if not ready:
                self._ask(server, b"SELECT 1")
            elif server.socket in ready:
                server.consume_input()
            self._hear(server)

    def _hear(self, server: pq.abc.PGconn) -> None:
        while (notification := server.notifies()) is not None:
            try:
                sender, notice = read_payload(notification.extra.decode())
            except ValueError:
                continue
            if sender != self.server and notice:
                self._deliver(notice)

    def _ask(self, server: pq.abc.PGconn, statement: bytes) -> None:
        """Run a statement. Raises Silent when there is no answer within the time."""
        server.send_query(statement)
        until = time.monotonic() + _SILENCE_SECONDS
        while True:
            while server.is_busy():
                left = max(0.0, until - time.monotonic())
                # The last look is without a wait: this process may have been what was held up.
                if not select.select([server.socket], [], [], left)[0] and not left:
                    raise Silent(f"it has not answered for {_SILENCE_SECONDS:g} s")
                server.consume_input()
            result = server.get_result()
            if result is None:
                return
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
