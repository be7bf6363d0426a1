# SPDX-License-Identifier: Apache-2.0
"""What callers use at each server of a PostgreSQL database, so that a quota can hold over all of them.

A server sends the uses of its callers whose quotas limit them, and receives those of the other servers. Nothing is
stored: the uses of a lost server are lost too.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Sequence
from typing import Final

from qonduit_server.store.notification_bus import CallerUse, Notification
from qonduit_server.store.server_messages import send
from qonduit_server.store.writer import Writer

_CHANNEL: Final = "qonduit_use"


class SharedUse:
    """Sends and receives uses."""

    channels: Final = (_CHANNEL,)

    def __init__(self) -> None:
        self._server = uuid.uuid4().hex
        #: PostgreSQL drops equal payloads of a transaction.
        self._serials = itertools.count()

    def send(self, writer: Writer, uses: Sequence[CallerUse]) -> None:
        """Send uses to the other servers."""
        payloads = [
            json.dumps([self._server, next(self._serials), use.caller, use.open_buffers, use.uploaded]) for use in uses
        ]
        if payloads:
            send(writer, self.channels, payloads)

    def receive(self, channel: str, payload: str) -> Notification | None:
        """Return the use that a payload of another server contains. Raises ValueError for that of another program."""
        server, _, caller, open_buffers, uploaded = json.loads(payload)
        if server == self._server:
            return None
        return Notification(use=CallerUse(str(caller), int(open_buffers), int(uploaded), str(server)))
