# SPDX-License-Identifier: Apache-2.0
"""The jobs of this server at vendors, in memory: what the ledger does not contain, and the due times of their steps."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from qonduit.execution.v1.vendor_pb2 import VendorJob, VendorReply, VendorTerms
from qonduit.v1.job_pb2 import VendorMode
from qonduit_server.execution.executor import Key
from qonduit_server.execution.remote.poll_intervals import Pause
from qonduit_server.execution.remote.vendor_processes import Account
from qonduit_server.store.jobs.submission_entries import GROUP_STAGE, Holder

StepKind = Literal["open", "prepare", "plan", "submit", "recover", "poll", "fetch", "cancel", "close"]


@dataclass(eq=False, slots=True)
class Part:
    """One submission of a job: a job at the vendor, or the batch or session of the others.

    Attributes:
        job: its job.
        stage: as in the ledger.
        part: as in the ledger.
        vendor_id: the vendor's id; empty before it is known.
        word: the vendor's last word for its state, with its cost.
        place: the last place in the vendor's queue that the ledger contains.
        shown_at: the time of its last event.
        interval: the time between its last polls.
        misses: how often in succession the vendor did not know it.
        failures: how often its results were not those of its circuits.
        unread: whether its job shows that the results cannot be read.
        done: whether its outcomes are stored.
        polled: the number of the poll that it waits for; 0 if it waits for none.
        answer: the vendor's answer to the submission, until the ledger contains it.
        unsent: the error of a submission that changed nothing at the vendor, until the ledger contains it.
        closed: of a batch or a session: whether the vendor was asked to close it before the end of the job.
    """

    job: RemoteJob
    stage: int
    part: int
    vendor_id: str = ""
    word: str = ""
    place: str = ""
    shown_at: float = 0.0
    interval: float = 0.0
    misses: int = 0
    failures: int = 0
    unread: bool = False
    done: bool = False
    polled: int = 0
    answer: VendorJob | None = None
    unsent: VendorReply.Error | None = None
    closed: bool = False

    @property
    def is_group(self) -> bool:
        """Whether it is the batch or the session of the other parts."""
        return self.stage == GROUP_STAGE


@dataclass(eq=False, slots=True)
class RemoteJob:
    """A job that this server has claimed, and whose device is at a vendor.

    Attributes:
        holder: the attempt, and this server.
        device: the device's name.
        account: with which the vendor is called.
        parts: its submissions.
        preparing: whether a worker has its task.
        cancelled: whether its cancellation was requested.
        ended: whether the end of its task was reported.
        stopped: whether a part was cancelled.
        finished: whether a part has results.
        mode: how the vendor runs its parts.
        is_last_call: whether its first call of the device is its last one.
        held: whether the report of its end waits until its batch or session is closed.
        estimates: how often the vendor was asked for its costs in vain.
    """

    holder: Holder
    device: str
    account: Account
    parts: dict[tuple[int, int], Part] = field(default_factory=dict)
    preparing: bool = False
    cancelled: bool = False
    ended: bool = False
    stopped: bool = False
    finished: bool = False
    mode: VendorMode = VendorMode.VENDOR_MODE_UNSPECIFIED
    is_last_call: bool = False
    held: bool = False
    estimates: int = 0

    @property
    def group(self) -> Part | None:
        """The batch or the session of its parts."""
        return self.parts.get((GROUP_STAGE, 0))

    @property
    def own_parts(self) -> Sequence[Part]:
        """Its parts without the batch or the session."""
        return [part for part in list(self.parts.values()) if not part.is_group]

    @property
    def key(self) -> Key:
        """The job and the attempt."""
        return self.holder.job_id, self.holder.attempt


@dataclass(eq=False)
class Line:
    """The calls of one account.

    Attributes:
        account: the account.
        terms: of its vendor.
        polls: the parts to poll, by their due time.
        pause: after failures.
        jobs: the jobs that use it.
    """

    account: Account
    terms: VendorTerms
    polls: list[tuple[float, int, Part]] = field(default_factory=list)
    pause: Pause = field(default_factory=Pause)
    jobs: set[Key] = field(default_factory=set)
    #: Whether a step that polls its parts is scheduled, and when.
    poll_at: float = float("inf")


@dataclass(frozen=True)
class Step:
    """Work for a thread. `run` does it; `provider` limits how many run at once, and `kind` ranks those that are due."""

    kind: StepKind
    provider: str
    run: Callable[[], None]


class Agenda:
    """The steps of all jobs by due time, taken by a few threads. Thread-safe.

    A provider whose calls hang occupies at most as many threads as its terms allow, and no others.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._numbers = itertools.count()
        #: The steps that are not due.
        self._later: list[tuple[float, int, Step]] = []
        #: Those that are due, by provider, in order.
        self._due: dict[str, list[tuple[int, int, Step]]] = {}
        self._busy: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._closed = False

    def limit(self, provider: str, calls: int) -> None:
        """Set how many steps of a provider run at once."""
        with self._changed:
            self._limits[provider] = calls

    def add(self, step: Step, at: float = 0.0) -> None:
        """Add a step, due at a time of the clock."""
        with self._changed:
            heapq.heappush(self._later, (at, next(self._numbers), step))
            self._changed.notify()

    def take(self) -> Step | None:
        """Wait for a step that is due and may run; None once the agenda is closed. Call `done` after it has run."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                while self._later and self._later[0][0] <= now:
                    _, number, step = heapq.heappop(self._later)
                    heapq.heappush(self._due.setdefault(step.provider, []), (_RANK[step.kind], number, step))
                for provider, waiting in self._due.items():
                    if waiting and self._busy.get(provider, 0) < self._limits.get(provider, 1):
                        *_, step = heapq.heappop(waiting)
                        self._busy[provider] = self._busy.get(provider, 0) + 1
                        # So that the next provider is first the next time.
                        self._due[provider] = self._due.pop(provider)
                        return step
                self._changed.wait(self._later[0][0] - now if self._later else None)
            return None

    def done(self, step: Step) -> None:
        """Note that a step has run."""
        with self._changed:
            self._busy[step.provider] -= 1
            self._changed.notify()

    def close(self) -> None:
        """Let all threads end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


#: The order of steps that are due: the ones that save money first.
_RANK: Final[dict[StepKind, int]] = {
    "close": 0,
    "cancel": 1,
    "recover": 2,
    "fetch": 3,
    "submit": 4,
    "plan": 5,
    "prepare": 6,
    "open": 7,
    "poll": 8,
}


class RemoteJobs:
    """The jobs by key, and the lines by account. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Key, RemoteJob] = {}
        self._lines: dict[Account, Line] = {}
        self._numbers = itertools.count(1)
        #: By provider: its jobs, and those that workers prepare.
        self._known: Counter[str] = Counter()
        self._preparing: Counter[str] = Counter()

    def add(self, jobs: Iterable[RemoteJob], terms: Callable[[str], VendorTerms]) -> None:
        """Add jobs; those of one account share its credential in memory."""
        with self._lock:
            for job in jobs:
                self._jobs[job.key] = job
                self._known[job.account.provider] += 1
                self._preparing[job.account.provider] += job.preparing
                line = self._lines.setdefault(job.account, Line(job.account, terms(job.account.provider)))
                job.account = line.account
                line.jobs.add(job.key)

    def get(self, key: Key) -> RemoteJob | None:
        """Return a job that has not ended."""
        return self._jobs.get(key)

    def end(self, job: RemoteJob) -> bool:
        """Note the end of a job; return False if it had ended before."""
        with self._lock:
            if job.ended:
                return False
            job.ended = True
            return True

    def forget(self, key: Key) -> None:
        """Remove a job, after its end was reported."""
        with self._lock:
            job = self._jobs.pop(key, None)
            if job is not None:
                self._known[job.account.provider] -= 1
                self._preparing[job.account.provider] -= job.preparing
                self._leave(job)

    def move(self, job: RemoteJob, line: Line) -> None:
        """Let a job use another account."""
        with self._lock:
            self._leave(job)
            job.account = line.account
            self._lines.setdefault(line.account, line).jobs.add(job.key)

    def _leave(self, job: RemoteJob) -> None:
        """Remove a job from its line. A line without jobs goes, and its credential with it."""
        line = self._lines.get(job.account)
        if line is not None:
            line.jobs.discard(job.key)
            if not line.jobs:
                del self._lines[job.account]

    def all(self) -> list[RemoteJob]:
        """Return all jobs."""
        with self._lock:
            return list(self._jobs.values())

    def of_line(self, line: Line) -> list[RemoteJob]:
        """Return the jobs of a line."""
        with self._lock:
            return [self._jobs[key] for key in line.jobs if key in self._jobs]

    def counts(self, provider: str) -> tuple[int, int]:
        """Return the number of a provider's jobs, and of those that workers prepare."""
        return self._known[provider], self._preparing[provider]

    def line(self, account: Account, terms: Callable[[str], VendorTerms]) -> Line:
        """Return the line of an account; a new one, which is not kept, if no job uses it."""
        with self._lock:
            return self._lines.get(account) or Line(account, terms(account.provider))

    def begin_preparing(self, job: RemoteJob) -> bool:
        """Note that a worker gets the task of a job; return False if one has it, or if the job has ended."""
        with self._lock:
            if job.preparing or job.ended:
                return False
            self._set_preparing(job, True)
            return True

    def end_preparing(self, job: RemoteJob) -> None:
        """Note that no worker has the task of a job."""
        with self._lock:
            self._set_preparing(job, False)

    def _set_preparing(self, job: RemoteJob, preparing: bool) -> None:
        if job.key in self._jobs:
            self._preparing[job.account.provider] += preparing - job.preparing
        job.preparing = preparing

    # The polls of a line.

    def push_poll(self, line: Line, due: float, part: Part) -> None:
        """Let a part wait for a poll; an earlier one is not made."""
        with self._lock:
            part.polled = next(self._numbers)
            heapq.heappush(line.polls, (due, part.polled, part))

    def next_poll(self, line: Line) -> float | None:
        """Return the time of the next poll of a line; None if it does not exist, or an earlier one is scheduled."""
        with self._lock:
            if not line.polls:
                return None
            at = max(line.polls[0][0], line.pause.until)
            if line.poll_at <= at:
                return None
            line.poll_at = at
            return at

    def take_polls(self, line: Line, now: float, count: int) -> list[Part]:
        """Return the parts to poll now, and those that are almost due; none while the line pauses."""
        until = now + line.terms.poll_seconds / 4
        found: list[Part] = []
        with self._lock:
            line.poll_at = float("inf")
            while line.polls and len(found) < count and line.polls[0][0] <= until and line.pause.until <= now:
                _, number, part = heapq.heappop(line.polls)
                # It may wait for another poll since, on the line of a new credential.
                if part.polled == number and not part.job.ended and not part.done:
                    found.append(part)
        return found

    def keys(self) -> list[Key]:
        """Return the keys of all jobs."""
        with self._lock:
            return list(self._jobs)
