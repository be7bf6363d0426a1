# SPDX-License-Identifier: Apache-2.0
"""Notifications between servers that share a PostgreSQL database: NOTIFY in the transaction, LISTEN on a connection.

The listener also detects a database server that hangs: it sends a query after each idle interval, and if no answer
comes in time, it shuts down all connections, so that no thread waits any longer.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
import uuid
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import pq
from sqlalchemy import Connection, Engine

from qonduit_server.store import migrations, postgresql_pipeline
from qonduit_server.store.database_clock import QUERY, DatabaseClock
from qonduit_server.store.database_health import DatabaseHealth, Part
from qonduit_server.store.engines import connect_apart, sever
from qonduit_server.store.migrations import compatibility
from qonduit_server.store.notification_bus import ANY_PROVIDER, EVERYTHING, Notification, StoredEvent
from qonduit_server.store.server_messages import Receiver
from qonduit_server.store.timed_queries import Unresponsive, values_of

_CHANNEL: Final = "qonduit"
#: PostgreSQL limits a payload to 8000 bytes.
_IDS_A_PAYLOAD: Final = 350
_EVENTS_A_PAYLOAD_BYTES: Final = 7000
#: The size of the events of a transaction that are sent; others must be read.
_MAX_EVENTS_BYTES: Final = 65_536
#: Longer names of providers are sent as "any provider".
_NAMES_CHARACTERS: Final = 200
#: More changed jobs than this in one transaction are sent as "any job".
_MAX_IDS: Final = 3500
_RECONNECT_SECONDS: Final = 0.5
#: Delay of the first attempt after a lost connection.
_FIRST_RECONNECT_SECONDS: Final = 0.02
#: Time without a notification after which the listener sends a query, and the time limit for its answer.
_IDLE_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 2.5

#: Time between two comparisons of the clocks while notifications arrive without a pause.
_COMPARE_SECONDS: Final = 10.0

_BACKEND: Final = b"SELECT pg_backend_pid()"
_NOTIFY: Final = f"SELECT pg_notify('{_CHANNEL}', %s)"


def payloads(server: str, notification: Notification) -> Iterator[str]:
    """Encode a notification as payloads for NOTIFY, with the small events, so that no server must read them."""
    ids = sorted(notification.jobs)
    message: dict[str, Any] = {"s": server}
    if notification.queued:
        names = sorted(notification.queued)
        message["q"] = names if sum(map(len, names)) <= _NAMES_CHARACTERS and all(names) else 1
    for flag, name in (
        (notification.cancels, "c"),
        (notification.catalogue, "d"),
        (notification.quotas, "u"),
        (len(ids) > _MAX_IDS, "a"),
    ):
        if flag:
            message[name] = 1
    if "a" in message:
        ids = []
    packed = _packed(ids, notification.events)
    sent = {job_id for group in packed for job_id in group}
    others = [job_id for job_id in ids if job_id not in sent]
    changes: list[dict[str, Any]] = [
        {"j": others[start : start + _IDS_A_PAYLOAD]} for start in range(0, len(others), _IDS_A_PAYLOAD)
    ]
    # The ids also for servers of releases before, which know no events.
    changes += ({"j": list(group), "e": list(group.values())} for group in packed)
    for change in changes or [{"j": []}]:
        yield json.dumps(message | change, separators=(",", ":"))
        message = {"s": server}


def _packed(
    ids: Sequence[int], events: Mapping[int, Sequence[StoredEvent]]
) -> list[dict[int, list[tuple[int, bool, str]]]]:
    """Return the events of jobs that fit into payloads, by job, for each payload."""
    packed: list[dict[int, list[tuple[int, bool, str]]]] = []
    room = total = 0
    for job_id in ids:
        size = sum(len(each.payload) * 4 // 3 + 40 for each in events.get(job_id, ()))
        if not 0 < size <= _EVENTS_A_PAYLOAD_BYTES or total + size > _MAX_EVENTS_BYTES:
            continue
        if size > room:
            packed.append({})
            room = _EVENTS_A_PAYLOAD_BYTES
        packed[-1][job_id] = [
            (each.sequence, each.terminal, b2a_base64(each.payload, newline=False).decode()) for each in events[job_id]
        ]
        room -= size
        total += size
    return packed


def read_payload(payload: str) -> tuple[str, Notification]:
    """Decode a payload to its sender and notification. Raises ValueError for a payload of another program."""
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise ValueError("not a notification payload")
    return str(message.get("s")), Notification(
        queued=_queued(message),
        cancels="c" in message,
        catalogue="d" in message,
        quotas="u" in message,
        all_jobs="a" in message,
        jobs=frozenset(message.get("j", ())),
        received=_received(message),
    )


def _received(message: dict[str, Any]) -> dict[int, list[StoredEvent]]:
    return {
        job_id: [StoredEvent(sequence, a2b_base64(payload), bool(terminal)) for sequence, terminal, payload in events]
        for job_id, events in zip(message["j"], message.get("e", ()), strict=False)
    }


def _queued(message: dict[str, Any]) -> frozenset[str]:
    # A server of an earlier release sends 1.
    names = message.get("q", ())
    return frozenset(names if isinstance(names, (list, tuple)) else (ANY_PROVIDER,))


class SharedSession(psycopg.OperationalError):
    """A connection pooler gave the session another connection, so it no longer listens."""


class NewerSchema(psycopg.OperationalError):
    """The database needs a newer server. This one cannot use it, and remains without a database."""


class PostgresqlListener:
    """The thread that receives notifications of other servers.

    Args:
        engine: the engine of the database.
        pooled: the engine of its reads, if they go through a pooler.
        deliver: called with each notification; after a lost connection, with `EVERYTHING`.
        health: records whether the database is available.
        receivers: receive what arrives on their channels.
        clock: compared with that of the database, if it is the database's.
    """

    def __init__(
        self,
        engine: Engine,
        pooled: Engine | None,
        deliver: Callable[[Notification], None],
        health: DatabaseHealth,
        receivers: Sequence[Receiver],
        clock: Callable[[], datetime],
    ) -> None:
        self.sender = uuid.uuid4().hex
        self._engine = engine
        self._pooled = pooled
        self._deliver = deliver
        self._health = health
        self._clock = clock if isinstance(clock, DatabaseClock) else None
        self._receivers = {channel: each for each in receivers for channel in each.channels}
        listening = (f"LISTEN {channel}" for channel in (_CHANNEL, *self._receivers))
        queries = (_BACKEND.decode(), compatibility.announcement(migrations.HEAD), *listening)
        self._begin = "; ".join(queries).encode()
        self._closing = threading.Event()
        self._close_read, self._close_write = os.pipe()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._work, name="store-listener", daemon=True)
        self._thread.start()
        # Notifications sent from now on must not be missed; if the database is unavailable, `EVERYTHING` follows later.
        self._listening.wait(5.0)

    def notify(self, connection: Connection, notification: Notification) -> None:
        """Notify the other servers when the transaction commits."""
        for payload in payloads(self.sender, notification):
            postgresql_pipeline.write(connection, _NOTIFY, (payload,))

    def change_sender(self) -> None:
        """Treat the notifications sent so far as those of another server.

        Call it when the answer of a commit was lost: a hanging server may complete that commit later.
        """
        self.sender = uuid.uuid4().hex

    def close(self) -> None:
        """Stop listening."""
        if self._closing.is_set():
            return
        self._closing.set()
        os.write(self._close_write, b"x")
        self._thread.join()
        os.close(self._close_read)
        os.close(self._close_write)

    def _work(self) -> None:
        missed = False
        while not self._closing.is_set():
            connected = False
            try:
                with ExitStack() as stack:
                    connection = stack.enter_context(closing(connect_apart(self._engine)))
                    pooled = None
                    if self._pooled is not None:
                        pooled = stack.enter_context(closing(connect_apart(self._pooled))).pgconn
                        values_of(pooled, b"SELECT 1", _ANSWER_SECONDS)
                    # An upgrade sees this server from here on; one that it does not support may have come before.
                    backend, _, *schema = values_of(connection.pgconn, self._begin, _ANSWER_SECONDS)
                    if refusal := compatibility.Schema(*schema).refusal(migrations.HEAD):
                        raise NewerSchema(refusal)
                    self._compare_clocks(connection.pgconn)
                    connected = True
                    self._health.mark_available(Part.DATABASE)
                    if missed:
                        self._deliver(EVERYTHING)
                    self._listening.set()
                    self._listen(connection.pgconn, backend, pooled)
            except (psycopg.Error, OSError) as error:
                missed = True
                if isinstance(error, Unresponsive) or not connected:
                    self._health.mark_unavailable(Part.DATABASE, error, unresponsive=isinstance(error, Unresponsive))
                    for engine in self._engines():
                        sever(engine)
                # Idle connections are broken as well; discard them all at once.
                for engine in self._engines():
                    engine.dispose()
                self._closing.wait(_RECONNECT_SECONDS if not connected else _FIRST_RECONNECT_SECONDS)

    def _engines(self) -> list[Engine]:
        return [self._engine, *([self._pooled] if self._pooled is not None else [])]

    def _listen(self, server: pq.abc.PGconn, backend: str, pooled: pq.abc.PGconn | None) -> None:
        """Receive notifications.

        Args:
            server: the session that listens.
            backend: its backend.
            pooled: a connection through the pooler that reads use.
        """
        next_ping, compared = 0.0, time.monotonic()
        while not self._closing.is_set():
            ready, _, _ = select.select([server.socket, self._close_read], [], [], _IDLE_SECONDS)
            if not ready or time.monotonic() - compared > _COMPARE_SECONDS:
                self._compare_clocks(server)
                compared = time.monotonic()
            if not ready:
                if values_of(server, _BACKEND, _ANSWER_SECONDS) != [backend]:
                    raise SharedSession("a connection pooler does not keep the session: set database_pooler")
            elif server.socket in ready:
                server.consume_input()
            self._deliver_received(server)
            if pooled is not None and time.monotonic() >= next_ping:
                values_of(pooled, b"SELECT 1", _ANSWER_SECONDS)
                next_ping = time.monotonic() + _IDLE_SECONDS

    def _compare_clocks(self, server: pq.abc.PGconn) -> None:
        if self._clock is not None:
            before = self._clock.monotonic()
            (seconds,) = values_of(server, QUERY, _ANSWER_SECONDS)
            self._clock.compare(before, float(seconds))

    def _deliver_received(self, server: pq.abc.PGconn) -> None:
        while (received := server.notifies()) is not None:
            try:
                notification = self._read(received.relname.decode(), received.extra.decode())
            except (ValueError, TypeError):  # of another program
                continue
            if notification is not None:
                self._deliver(notification)

    def _read(self, channel: str, payload: str) -> Notification | None:
        """Return what a payload notifies this server of."""
        if channel != _CHANNEL:
            return self._receivers[channel].receive(channel, payload)
        sender, notification = read_payload(payload)
        return notification if sender != self.sender and notification else None
