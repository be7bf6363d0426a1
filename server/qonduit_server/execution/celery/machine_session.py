# SPDX-License-Identifier: Apache-2.0
"""The tasks and the numbered messages of one server, as a worker machine keeps them until the server has them."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from qonduit.execution.v1.machine_pb2 import LossKind as WireLossKind
from qonduit.execution.v1.machine_pb2 import MachineMessage, TaskKey, TaskLost
from qonduit.execution.v1.task_pb2 import TaskEvent, TaskEventBatch
from qonduit_server.execution.celery.messages import VERSION, in_parts
from qonduit_server.execution.executor import Key, Loss, LossKind

#: The patience of a server that states none.
_PATIENCE_SECONDS: Final = 60.0
#: The bytes of messages that may wait for one server: with more, the pool waits. One event may have more by itself.
MOST_BYTES: Final = 64 * 1024**2
#: With more waiting bytes than this, the server is slow or away: it gets no places, and events that later ones replace
#: are dropped.
_MANY_BYTES: Final = MOST_BYTES // 2
#: The bytes of events in one message, if they are several.
_BATCH_BYTES: Final = 1024**2
#: The kinds of events that later ones replace.
_REPLACEABLE: Final = frozenset({"progress", "phase", "program_partial"})
#: The number of ended tasks that are remembered, so that a repeated message does not run them again.
_REMEMBERED: Final = 10_000

_KINDS: Final = {
    LossKind.DIED: WireLossKind.LOSS_KIND_DIED,
    LossKind.CANCELLED: WireLossKind.LOSS_KIND_CANCELLED,
    LossKind.TIME_LIMIT: WireLossKind.LOSS_KIND_TIME_LIMIT,
    LossKind.STOPPED: WireLossKind.LOSS_KIND_STOPPED,
}


class MachineSession:
    """The tasks and messages of one server."""

    def __init__(self, server: str, number: int, machine: str) -> None:
        self.server = server
        self.number = number
        self._machine = machine
        #: For how long the server was silent while the broker was there.
        self.silent_seconds = 0.0
        self.patience = _PATIENCE_SECONDS
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
        self.repeated_at = -math.inf
        self.bytes = 0
        self.sequence = 0
        self.state_due = True

    def message(self, **fields: object) -> MachineMessage:
        """Return a message to the server."""
        return MachineMessage(version=VERSION, machine=self._machine, session=self.number, **fields)  # type: ignore[arg-type]

    def add_events(self, events: Sequence[TaskEvent]) -> None:
        """Add events of tasks, which may end some of them."""
        self.add(self.message(events=TaskEventBatch(events=events)))
        for event in events:
            if event.HasField("finished"):
                self.end((event.job_id, event.attempt))

    def add_lost(self, key: Key, loss: Loss) -> None:
        """Add the end of a task without a `finished` event."""
        task = TaskKey(job_id=key[0], attempt=key[1])
        lost = TaskLost(task=task, kind=_KINDS[loss.kind], message=loss.message, pid=loss.pid, seconds=loss.seconds)
        self.add(self.message(lost=lost))
        self.end(key)

    def add(self, message: MachineMessage) -> None:
        """Add a message, in parts if it is large."""
        for part in in_parts(message):
            self.sequence += 1
            part.sequence = self.sequence
            data = part.SerializeToString()
            self.unacknowledged.append((self.sequence, data))
            self.bytes += len(data)

    @property
    def slow(self) -> bool:
        """Whether many bytes wait for the server."""
        return self.bytes > _MANY_BYTES

    def has_room(self, size: int) -> bool:
        """Return whether a message of this size may wait, too."""
        return self.bytes + size <= MOST_BYTES or not self.bytes

    def acknowledge(self, sequence: int, *, repeat: bool, repeat_seconds: float) -> None:
        """Drop the messages that the server has; with `repeat`, send the others again, at intervals of seconds."""
        while self.unacknowledged and self.unacknowledged[0][0] <= sequence:
            self.bytes -= len(self.unacknowledged.popleft()[1])
            self.sent = max(0, self.sent - 1)
        now = time.monotonic()
        if repeat and now - self.repeated_at >= repeat_seconds:
            self.sent, self.repeated_at = 0, now

    def end(self, key: Key) -> None:
        """Remember an ended task."""
        self.tasks.pop(key, None)
        self.ended[key, self.outcomes.pop(key, 0)] = None
        if len(self.ended) > _REMEMBERED:
            self.ended.popitem(last=False)


def in_batches(events: Iterable[TaskEvent]) -> Iterator[tuple[list[TaskEvent], int]]:
    """Divide events into batches of a limited size; yield each with its bytes.

    An end is in the batch of the event before it: the server misses both, or none.
    """
    batch: list[TaskEvent] = []
    size = 0
    for event in events:
        more = event.ByteSize()
        if batch and size + more > _BATCH_BYTES and not event.HasField("finished"):
            yield batch, size
            batch, size = [], 0
        batch.append(event)
        size += more
    if batch:
        yield batch, size


def is_replaceable(event: TaskEvent) -> bool:
    """Return whether later events replace an event, so that nothing is missing without it."""
    return event.WhichOneof("event") in _REPLACEABLE
