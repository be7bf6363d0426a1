# SPDX-License-Identifier: Apache-2.0
"""Follow many jobs concurrently with a bounded number of threads."""

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

#: Maximum number of threads. A job without a thread waits for earlier jobs, which also run before it.
THREADS: Final = 64
#: Seconds for which an interrupt waits for pending submissions.
_START_SECONDS: Final = 2.0


@dataclass
class WatchedJob:
    """One followed job.

    Attributes:
        start: creates or looks up the job; called in the job's thread.
        show: called with each of its events.
        handle: set once the job is created.
        job: set once the job has ended.
        error: set if the job could not be created or followed to its end.
        starting: set once `start` has returned; None before the call.
    """

    start: Callable[[], JobHandle]
    show: Callable[[JobEvent], None]
    handle: JobHandle | None = None
    job: Job | None = None
    error: QonduitError | None = None
    starting: Event | None = None


def watch_all(
    client: Client,
    several: Sequence[WatchedJob],
    *,
    timeout: float | None = None,
    threads: int = THREADS,
    queue_updates: bool = False,
) -> None:
    """Follow jobs until each has ended or failed to be followed; outcomes are stored in `several`.

    If a start fails with a limit (a full queue), it is retried after the server's delay, until the timeout.

    Args:
        client: the connection; an interrupt closes it to end the threads.
        several: the jobs.
        timeout: seconds for all of them together.
        threads: the maximum number of jobs followed concurrently.
        queue_updates: also show places in the queue.

    Raises:
        KeyboardInterrupt: re-raised after all threads have ended.
    """
    stop = Event()
    deadline = None if timeout is None else monotonic() + timeout
    pool = ThreadPoolExecutor(max(1, min(threads, len(several))), thread_name_prefix="follow")
    try:
        running = [pool.submit(_follow, each, deadline, stop, queue_updates) for each in several]
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
    """Wait briefly for pending submissions, so that all running jobs are known."""
    latest = monotonic() + _START_SECONDS
    for each in several:
        if each.starting is not None:
            each.starting.wait(max(0.0, latest - monotonic()))


def _follow(one: WatchedJob, deadline: float | None, stop: Event, queue_updates: bool) -> None:
    try:
        if stop.is_set():
            return
        one.starting = Event()
        try:
            one.handle = _started(one, deadline, stop)
        finally:
            one.starting.set()
        left = None if deadline is None else max(0.0, deadline - monotonic())
        for event in one.handle.events(timeout=left, queue_updates=queue_updates):
            one.show(event)
        one.job = one.handle.wait()
    except QonduitError as error:
        one.error = error
    except ValueError:
        if not stop.is_set():  # else an interrupt closed the channel to end this thread
            raise


def _started(one: WatchedJob, deadline: float | None, stop: Event) -> JobHandle:
    while True:
        try:
            return one.start()
        except LimitExceeded as error:
            pause = error.retry_after
            if pause is None or (deadline is not None and monotonic() + pause > deadline) or stop.wait(pause):
                raise
