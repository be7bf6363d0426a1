# SPDX-License-Identifier: Apache-2.0
"""Many jobs followed at once, by a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Final

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit_client.client import Client
from qonduit_client.errors import LimitExceeded, QonduitError
from qonduit_client.job import JobHandle

#: Threads at most. A job that waits for one waits for those before it, which by their age run before it too.
THREADS: Final = 64
#: Seconds that an interrupt waits for jobs that are being made.
_START_SECONDS: Final = 2.0


@dataclass
class WatchedJob:
    """One job: what is known of it so far.

    Attributes:
        start: makes or finds the job; called once its turn has come.
        show: is called with each of its events.
        handle: once it was made.
        job: once it has ended.
        error: why it could not be made, or followed to its end.
        starting: set once `start` has ended; None before it began.
    """

    start: Callable[[], JobHandle]
    show: Callable[[JobEvent], None]
    handle: JobHandle | None = None
    job: Job | None = None
    error: QonduitError | None = None
    starting: Event | None = None


def watch_all(
    client: Client, several: Sequence[WatchedJob], *, timeout: float | None = None, threads: int = THREADS
) -> None:
    """Follows jobs until each has ended or cannot be followed any more; what became of them stands in `several`.

    A start that the server refuses for now (a full queue) is tried again when the server said, until the timeout.

    Args:
        client: the connection. It is closed when this is interrupted, for nothing else wakes the threads.
        several: the jobs.
        timeout: seconds for all of them together.
        threads: how many are followed at a time.

    Raises:
        KeyboardInterrupt: as it was raised; no thread is left.
    """
    stop = Event()
    deadline = None if timeout is None else monotonic() + timeout
    pool = ThreadPoolExecutor(max(1, min(threads, len(several))), thread_name_prefix="follow")
    try:
        running = [pool.submit(_follow, each, deadline, stop) for each in several]
        wait(running)
        for each in running:
            each.result()
    except BaseException:
        stop.set()
        _wait_for_starts(several)
        client.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _wait_for_starts(several: Sequence[WatchedJob]) -> None:
    """Wait a little for jobs that are being made, so that those that go on are known."""
    latest = monotonic() + _START_SECONDS
    for each in several:
        if each.starting is not None:
            each.starting.wait(max(0.0, latest - monotonic()))


def _follow(one: WatchedJob, deadline: float | None, stop: Event) -> None:
    try:
        if stop.is_set():
            return
        one.starting = Event()
        try:
            one.handle = _started(one, deadline, stop)
        finally:
            one.starting.set()
        for event in one.handle.events(timeout=None if deadline is None else max(0.0, deadline - monotonic())):
            one.show(event)
        one.job = one.handle.wait()
    except QonduitError as error:
        one.error = error
    except ValueError:
        if not stop.is_set():  # else the channel was closed under this thread, to end it
            raise


def _started(one: WatchedJob, deadline: float | None, stop: Event) -> JobHandle:
    while True:
        try:
            return one.start()
        except LimitExceeded as error:
            pause = error.retry_after
            if pause is None or (deadline is not None and monotonic() + pause > deadline) or stop.wait(pause):
                raise
