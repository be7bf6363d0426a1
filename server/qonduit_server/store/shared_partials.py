# SPDX-License-Identifier: Apache-2.0
"""Partial results for watchers at other servers of the same PostgreSQL database.

A server requests the partial results of the jobs that its streams watch, and repeats the request while they do. The
server that runs such a job sends each partial result to the channel of the requesting server, in parts that NOTIFY
accepts. So the results of a job without such a stream are sent nowhere, and none are stored.
"""

from __future__ import annotations

import base64
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Final

from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.server_messages import send
from qonduit_server.store.writer import Writer

#: A request is valid for this time; it survives two lost repetitions of `rpc/job_watches.py`.
VALID_SECONDS: Final = 15.0
#: The maximum of jobs that a server requests from the others, and that it keeps requests for.
MAX_JOBS: Final = 5000
#: PostgreSQL limits a payload to 8000 bytes.
_IDS_A_REQUEST: Final = 350
_PART_BYTES: Final = 5600
#: The maximum of bytes that wait to be sent to other servers; further partial results are dropped.
_MAX_WAITING_BYTES: Final = 4 * 1024**2
#: The maximum of parts of a partial result that are accepted.
_MAX_PARTS: Final = 64
_REQUESTS: Final = "qonduit_partial"


class SharedPartials:
    """The requests of other servers, and the partial results that this server sends and receives.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = uuid.uuid4().hex
        self._own_channel = f"{_REQUESTS}_{self._server}"
        self._clock = clock
        self._lock = threading.Lock()
        #: The end of each request, by job and by server.
        self._requests: dict[int, dict[str, float]] = {}
        self._waiting_bytes = 0
        #: PostgreSQL drops equal payloads of a transaction.
        self._serials = itertools.count()
        #: The parts of the partial result that arrives. Those of one transaction arrive together.
        self._parts: list[str] = []

    @property
    def channels(self) -> tuple[str, str]:
        """The channels to listen to."""
        return _REQUESTS, self._own_channel

    def request(self, writer: Writer, job_ids: Collection[int]) -> None:
        """Request the partial results of jobs from the other servers, for `VALID_SECONDS`."""
        ids = sorted(job_ids)[:MAX_JOBS]
        payloads = [
            " ".join((self._server, *map(str, ids[start : start + _IDS_A_REQUEST])))
            for start in range(0, len(ids), _IDS_A_REQUEST)
        ]
        if payloads:
            send(writer, [_REQUESTS], payloads)

    def send(self, writer: Writer, job_id: int, event: bytes) -> None:
        """Send a serialized event to the servers that requested the partial results of its job."""
        if not (servers := self._servers(job_id)):
            return
        payloads = list(_parts(job_id, next(self._serials), event))
        size = len(servers) * sum(map(len, payloads))
        with self._lock:
            if self._waiting_bytes + size > _MAX_WAITING_BYTES:
                return
            self._waiting_bytes += size
        sent = send(writer, [f"{_REQUESTS}_{server}" for server in servers], payloads)

        def done(_: Future[None]) -> None:
            with self._lock:
                self._waiting_bytes -= size

        sent.add_done_callback(done)

    def receive(self, channel: str, payload: str) -> Notification | None:
        """Return the partial result that a payload of another server completes.

        Raises:
            ValueError: the payload is that of another program.
        """
        if channel == _REQUESTS:
            server, *ids = payload.split()
            if server != self._server:
                self._add_requests(server, [int(job_id) for job_id in ids])
            return None
        job_id, _, number, count, data = payload.split()
        if number == "0":
            self._parts.clear()
        if len(self._parts) != int(number) or int(count) > _MAX_PARTS:
            return None
        self._parts.append(data)
        if len(self._parts) < int(count):
            return None
        event = b"".join(map(base64.b64decode, self._parts))
        self._parts.clear()
        return Notification(partial={int(job_id): event})

    def _add_requests(self, server: str, job_ids: Sequence[int]) -> None:
        now = self._clock()
        with self._lock:
            for job_id in [job_id for job_id, ends in self._requests.items() if max(ends.values()) <= now]:
                del self._requests[job_id]
            for job_id in job_ids:
                if job_id in self._requests or len(self._requests) < MAX_JOBS:
                    self._requests.setdefault(job_id, {})[server] = now + VALID_SECONDS

    def _servers(self, job_id: int) -> list[str]:
        if job_id not in self._requests:
            return []
        now = self._clock()
        with self._lock:
            return [server for server, end in self._requests.get(job_id, {}).items() if end > now]


def _parts(job_id: int, serial: int, event: bytes) -> Iterator[str]:
    """Encode an event as payloads: the job, the event's number, the part's number, the number of parts, the part."""
    count = -(-len(event) // _PART_BYTES)
    for number in range(count):
        part = event[number * _PART_BYTES : (number + 1) * _PART_BYTES]
        yield f"{job_id} {serial} {number} {count} {base64.b64encode(part).decode()}"
