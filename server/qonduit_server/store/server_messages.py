# SPDX-License-Identifier: Apache-2.0
"""Messages between servers that share a PostgreSQL database, by NOTIFY; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import text

from qonduit_server.errors import Unavailable
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.writer import Operation, Transaction, Writer

_NOTIFY: Final = text(
    "SELECT pg_notify(channel, payload) FROM unnest(CAST(:channels AS text[])) AS channel, "
    "unnest(CAST(:payloads AS text[])) WITH ORDINALITY AS parts (payload, number) ORDER BY channel, number"
)


@dataclass(frozen=True, slots=True)
class _Message:
    """Payloads, each for every channel."""

    channels: Sequence[str]
    payloads: Sequence[str]


class Receiver(Protocol):
    """Receives the messages of channels."""

    @property
    def channels(self) -> Sequence[str]:
        """The channels to listen to."""

    def receive(self, channel: str, payload: str) -> Notification | None:
        """Return what to deliver for a payload. Raises ValueError for a payload of another program."""


def send(writer: Writer, channels: Sequence[str], payloads: Sequence[str]) -> Future[None]:
    """Queue payloads of at most 8000 bytes; they are dropped while the database is unavailable."""
    try:
        return writer.submit(_SEND, _Message(channels, payloads))
    except Unavailable as error:
        failed: Future[None] = Future()
        failed.set_exception(error)
        return failed


def _notify(transaction: Transaction, messages: Sequence[_Message]) -> list[None]:
    for message in messages:
        values = {"channels": list(message.channels), "payloads": list(message.payloads)}
        transaction.connection.execute(_NOTIFY, values)
    return [None] * len(messages)


#: Changes nothing, so the audit log has no entry of it.
_SEND: Final = Operation(_notify, durable=False, objects=lambda *_: ())
