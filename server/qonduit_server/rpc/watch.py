# SPDX-License-Identifier: Apache-2.0
"""A watch: a stream of a job's events, its position, and the events for it that are not stored."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.event_pb2 import FinalResults, Heartbeat, JobEvent, PartialResult, QueueChange
from qonduit.v1.job_pb2 import QueuePlace
from qonduit_server.rpc.stream_sender import Stream


class Wanted(NamedTuple):
    """The events that a stream requested."""

    partial_results: bool = False
    queue_updates: bool = False
    final_results: bool = False
    omit_intermediate: bool = False


#: The number of the field in JobEvent, and the wire type of a message (protobuf's encoding of fields).
_FINAL_RESULTS: Final = JobEvent.DESCRIPTOR.fields_by_name["final_results"].number
_LENGTH_DELIMITED: Final = 2
STORED_EVENTS: Final = Wanted()
#: Streams receive an estimate again after a change by this factor; it shrinks while a job waits.
_LOG_CHANGE: Final = math.log(1.2)


class WatchState(Enum):
    """What a watch does; one thread at a time owns it."""

    IDLE = auto()
    READY = auto()
    BUSY = auto()
    CLOSED = auto()


class Watch:
    """A stream and its position. The lock of `JobWatches` guards `state` and `stale`; one thread owns the rest."""

    __slots__ = (
        "beat",
        "complete",
        "cursor",
        "epoch",
        "interval",
        "job_id",
        "last_place",
        "partial",
        "pending",
        "place",
        "ready_since",
        "sent_at",
        "skip",
        "stale",
        "state",
        "stream",
        "verify",
        "wants",
    )

    def __init__(
        self,
        stream: Stream,
        job_id: int,
        skip: int,
        interval: float,
        *,
        verify: bool,
        epoch: int = 0,
        wants: Wanted = STORED_EVENTS,
    ) -> None:
        self.stream = stream
        self.job_id = job_id
        self.interval = interval
        #: Events up to this one are not sent: the client has them.
        self.skip = skip
        #: The epoch of that event, as the client knows it.
        self.epoch = epoch
        #: Include the client's last event in the first read: it must be stored, and may be the job's last.
        self.verify = verify and skip > 0
        self.cursor = skip - 1 if self.verify else 0
        self.pending: deque[bytes] = deque()
        #: Whether the terminal event is in `pending`, or the client has it.
        self.complete = False
        self.beat = True
        self.sent_at = 0.0
        self.stale = False
        self.state = WatchState.READY
        #: The time of the notification that made it ready (monotonic seconds).
        self.ready_since = time.monotonic()
        self.wants = wants
        #: The latest partial result and the latest place in the queue that are not sent.
        self.partial: bytes | None = None
        self.place: bytes | None = None
        #: The latest place in the queue, sent or not.
        self.last_place: QueuePlace | None = None

    def accept_partial(self, partial: bytes) -> bool:
        """Keep a partial result, if the stream requested them; a slow stream receives the newest only."""
        if self.wants.partial_results:
            self.partial = partial
        return self.wants.partial_results

    def accept_place(self, place: QueuePlace) -> bool:
        """Keep a place in the queue, if the stream requested them and knows another one."""
        if not (self.wants.queue_updates and differs(place, self.last_place)):
            return False
        event = JobEvent(job_id=self.job_id, event_time=_now(), queue_change=QueueChange(queue=place))
        self.place, self.last_place = event.SerializeToString(), place
        return True


def add_transient(watch: Watch) -> None:
    """Add the events of a watch that are not stored behind those that it has sent."""
    last = max(watch.cursor, watch.skip)
    place, watch.place = watch.place, None
    partial, watch.partial = watch.partial, None
    # Concatenated bytes of two messages parse as the merged message.
    if place is not None:
        watch.pending.append(place + JobEvent(queue_change=QueueChange(last_sequence=last)).SerializeToString())
    if partial is not None:
        tail = JobEvent(partial_result=PartialResult(last_sequence=last))
        watch.pending.append(partial + tail.SerializeToString())


def final_results(watch: Watch, results: Iterable[bytes]) -> bytes:
    """Return the event with the serialized results of a job, without parsing them."""
    last = FinalResults(last_sequence=max(watch.cursor, watch.skip)).SerializeToString()
    content = b"".join(framed(result) for result in results) + last
    return JobEvent(job_id=watch.job_id, event_time=_now()).SerializeToString() + framed(content, _FINAL_RESULTS)


def heartbeat(watch: Watch) -> bytes:
    """Return a heartbeat with the last sequence that a watch sent."""
    return JobEvent(
        job_id=watch.job_id, event_time=_now(), heartbeat=Heartbeat(last_sequence=max(watch.cursor, watch.skip))
    ).SerializeToString()


def framed(payload: bytes, field: int = 1) -> bytes:
    """Return a serialized message as a field of another one: tag, length, payload.

    Field 1 of RunJobResponse and of WatchJobResponse is an event, that of FinalResults a result.
    """
    size = len(payload)
    head = bytearray((field << 3 | _LENGTH_DELIMITED,))
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + payload


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now


def differs(place: QueuePlace, before: QueuePlace | None) -> bool:
    """Return whether a place differs from the one that a stream received, and not in the last digit of an estimate."""
    if before is None or any(
        getattr(place, name) != getattr(before, name) for name in ("position", "reason", "message")
    ):
        return True
    names = ("estimated_start_seconds_p50", "estimated_start_seconds_p90")
    if any(place.HasField(name) != before.HasField(name) for name in names):
        return True
    return any(
        abs(math.log((getattr(place, name) or 1) / (getattr(before, name) or 1))) > _LOG_CHANGE for name in names
    )
