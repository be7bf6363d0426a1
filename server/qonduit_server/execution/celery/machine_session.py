# SPDX-License-Identifier: Apache-2.0
"""The tasks and the numbered messages of one server, as a worker machine keeps them until the server has them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import Final

from qonduit.execution.v1.machine_pb2 import MachineMessage
from qonduit_server.execution.celery.messages import in_parts
from qonduit_server.execution.executor import Key

#: How long a pool waits for a server at most, if the server's patience is longer.
MOST_WAIT_SECONDS: Final = 60.0
#: The number of ended tasks that are remembered, so that a repeated message does not run them again.
_REMEMBERED: Final = 10_000


class MachineSession:
    """The tasks and messages of one server."""

    def __init__(self, server: str, number: int) -> None:
        self.server = server
        self.number = number
        self.heard_at = time.monotonic()
        self.patience = MOST_WAIT_SECONDS
        #: The number of tasks so far, by lane.
        self.received: dict[str, int] = {}
        #: The lanes of the tasks that have not ended.
        self.tasks: dict[Key, str] = {}
        #: The numbers of outcomes of vendors in these tasks: a task that gets more of them runs again.
        self.outcomes: dict[Key, int] = {}
        self.ended: OrderedDict[tuple[Key, int], None] = OrderedDict()
        #: The messages that the server may not have, in order, and how many of them were sent.
        self.unacknowledged: deque[tuple[int, bytes]] = deque()
        self.sent = 0
        self.bytes = 0
        self.sequence = 0
        self.state_due = True

    def add(self, message: MachineMessage) -> None:
        """Add a message, in parts if it is large."""
        for part in in_parts(message):
            self.sequence += 1
            part.sequence = self.sequence
            data = part.SerializeToString()
            self.unacknowledged.append((self.sequence, data))
            self.bytes += len(data)

    def acknowledge(self, sequence: int, *, repeat: bool) -> None:
        """Drop the messages that the server has; with `repeat`, send the others again."""
        while self.unacknowledged and self.unacknowledged[0][0] <= sequence:
            self.bytes -= len(self.unacknowledged.popleft()[1])
            self.sent = max(0, self.sent - 1)
        if repeat:
            self.sent = 0

    def end(self, key: Key) -> None:
        """Remember an ended task."""
        self.tasks.pop(key, None)
        self.ended[key, self.outcomes.pop(key, 0)] = None
        if len(self.ended) > _REMEMBERED:
            self.ended.popitem(last=False)
