# SPDX-License-Identifier: Apache-2.0
"""The claimer: claims jobs when the executor wants tasks and the queue may have some, and submits them.

While the queue has no jobs for the tasks that the executor wants, a standing claim waits for them in the store.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.errors import Unavailable
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.executor import Executor
from qonduit_server.observer import Observer
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import AtVendor, Pool, pool_of, provider_name
from qonduit_server.store.jobs import queue
from qonduit_server.store.jobs.standing_claim import StandingClaim
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.version_requirements import Environment

#: The retry interval of a claim while the database is unavailable.
_CLAIM_AGAIN_SECONDS: Final = 0.5
#: The maximum number of lost responses that are looked up later; the leases of older ones expire.
_UNANSWERED: Final = 1000


@dataclass(frozen=True)
class TaskLimits:
    """The default limits of a task; 0 means no limit.

    Attributes:
        time_limit_seconds: the time limit.
        memory_limit_bytes: the memory limit.
        max_result_bytes: the largest result of one program.
    """

    time_limit_seconds: float = 0.0
    memory_limit_bytes: int = 0
    max_result_bytes: int = 0

    def fill_in(self, task: Task) -> None:
        """Set the limits that a task does not have."""
        task.time_limit_seconds = task.time_limit_seconds or self.time_limit_seconds
        task.memory_limit_bytes = task.memory_limit_bytes or self.memory_limit_bytes
        task.max_result_bytes = task.max_result_bytes or self.max_result_bytes


class Claimer:
    """Moves jobs from the queue to the executor, in one thread that calls `run`.

    The thread holds a lock from before a claim until its tasks are submitted, so that a drain can wait for a current
    claim. It is the only lock of the dispatcher under which the store, the running jobs and the executor are called, so
    it comes first in the order of locks. No method of a listener acquires it.

    Args:
        db: the store.
        executor: runs the tasks.
        running: receives the claimed jobs before the executor. No job is claimed after it is closed.
        lease: how long a lease is valid without renewal.
        slots: the number of tasks that run at once, which callers share; 0 if it is not known.
        limits: the default limits of tasks.
        on_late_claim: called after the jobs of a claim whose response was lost are submitted: their cancellations may
            have been missed.
        vendor_capacity: returns the number of jobs for devices at vendors that the executor wants, by provider name.
        log: a logger that is bound to the server's name.
        observer: receives each claim.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        running: RunningJobs,
        *,
        lease: timedelta,
        slots: int,
        limits: TaskLimits,
        on_late_claim: Callable[[], None],
        vendor_capacity: Callable[[], Mapping[str, int]],
        log: Any,
        observer: Observer,
    ) -> None:
        self._db = db
        self._executor = executor
        self._running = running
        self._lease = lease
        self._slots = slots
        self._limits = limits
        self._on_late_claim = on_late_claim
        self._vendor_capacity = vendor_capacity
        self._log = log
        self._observer = observer
        self._claiming = threading.Lock()
        self._wake = threading.Event()
        self._changes = threading.Lock()
        #: The providers for which jobs were queued since the last claim, or `ANY_PROVIDER`; guarded by `_changes`.
        self._queued = {ANY_PROVIDER}
        self._stopping = threading.Event()
        # The lock guards the attributes below.
        #: The owners of claims whose responses were lost: the claims may have succeeded.
        self._unanswered: deque[str] = deque(maxlen=_UNANSWERED)
        #: The pools without a waiting job at the last claim.
        self._empty: set[Pool] = set()
        #: The environments of the workers at the last claim.
        self._environments: Mapping[str, Sequence[Environment]] = {}
        #: The claim of the jobs that are queued next for these providers.
        self._standing: StandingClaim | None = None

    def capacity_changed(self) -> None:
        """Claim again: the executor may want more tasks."""
        self._wake.set()

    def queue_changed(self, providers: Iterable[str] = (ANY_PROVIDER,)) -> None:
        """Claim again: jobs may wait for these providers."""
        with self._changes:
            self._queued.update(providers)
        self._wake.set()

    def wait_for_claim(self, seconds: float) -> None:
        """Withdraw the standing claim, and wait until the tasks of a current claim are submitted, at most `seconds`."""
        if self._claiming.acquire(timeout=seconds):
            with suppress(Unavailable):
                self._end_standing(seconds)
            self._claiming.release()

    def resize(self, slots: int) -> None:
        """Set the number of tasks that run at once."""
        self._slots = slots
        self._wake.set()

    def stop(self) -> None:
        """End the thread; close the running jobs first."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Claim jobs until `stop`."""
        try:
            while not self._stopping.is_set():
                self._wake.wait()
                self._wake.clear()
                while self._claim_once():
                    pass
        finally:
            if self._standing is not None:
                self._standing.withdraw()

    def _claim_once(self) -> bool:
        """Claim and submit; return False if there is no work until the next notification."""
        with self._claiming:
            if self._running.closed:
                return False
            try:
                self._note_queued()
                capacity: dict[Pool, int] = dict(self._executor.capacity().items())
                capacity |= {AtVendor(name): count for name, count in self._vendor_capacity().items()}
                self._compare_environments()
                wanted = {pool: count for pool, count in capacity.items() if pool not in self._empty}
                if not wanted:
                    return self._stand(capacity)
                # The tasks of a standing claim change the capacity.
                if self._end_standing():
                    owner, began = self._running.claiming_owner, time.perf_counter()
                    tasks = queue.claim(self._db, owner, wanted, self._lease, self._slots, self._environments)
                    self._submit_claimed(tasks, owner, wanted, time.perf_counter() - began)
                return True
            except Unavailable:
                # The claim may have succeeded with its response lost: renewals by this server must not keep such jobs
                # from other servers.
                self._unanswered.append(self._running.change_owner())
                self.queue_changed()
        self._stopping.wait(_CLAIM_AGAIN_SECONDS)
        return True

    def _note_queued(self) -> None:
        """Note the providers for which jobs were queued. Others need no further claim, and no other standing claim.

        Raises:
            Unavailable: a standing claim may have been made with its response lost.
        """
        with self._changes:
            queued, self._queued = self._queued, set()
        filled = {pool for pool in self._empty if provider_name(pool) in queued}
        if ANY_PROVIDER in queued or filled:
            # First the answer of the standing claim: it does not know the jobs that were queued after it.
            self._end_standing()
            self._empty = set() if ANY_PROVIDER in queued else self._empty - filled
        accounts = self._db.lane_accounts
        accounts.examine_all(p for p in accounts.unexamined if {ANY_PROVIDER, provider_name(p)} & queued)

    def _compare_environments(self) -> None:
        """Read the environments of the workers. If they change, jobs that require versions may start."""
        before, self._environments = self._environments, self._executor.environments()
        accounts = self._db.lane_accounts
        changed = {
            pool
            for pool in accounts.pinned
            if self._environments.get(provider_name(pool)) != before.get(provider_name(pool))
        }
        self._empty -= changed
        accounts.examine_all(changed)

    def _stand(self, capacity: Mapping[Pool, int]) -> bool:
        """Keep a standing claim of these tasks; return whether a former one was made.

        Raises:
            Unavailable: a former one may have been made with its response lost.
        """
        standing = self._standing
        if (
            standing is not None
            and (standing.capacity, standing.environments) == (capacity, self._environments)
            and not standing.answered
        ):
            return False
        if not self._end_standing():
            return True
        if capacity:
            owner = self._running.claiming_owner
            self._standing = StandingClaim(
                *(self._db, owner, capacity, self._lease, self._slots),
                on_result=self._wake.set,
                environments=self._environments,
            )
        return False

    def _end_standing(self, seconds: float | None = None) -> bool:
        """Withdraw the standing claim. If it was made, submit its tasks and return False.

        Args:
            seconds: how long to wait for the store; None means no limit.

        Raises:
            Unavailable: it may have been made with its response lost.
        """
        standing, self._standing = self._standing, None
        if standing is None or standing.withdraw():
            return True
        tasks = standing.tasks(seconds)
        if tasks is None:
            self.queue_changed()
        else:
            self._submit_claimed(tasks, standing.owner, standing.capacity)
        return False

    def _submit_claimed(
        self, tasks: list[Task], owner: str, wanted: Mapping[Pool, int], seconds: float | None = None
    ) -> None:
        """Submit the tasks of a claim, and note the pools without further jobs.

        Args:
            tasks: the tasks.
            owner: the owner of the claim.
            wanted: the capacity of the claim.
            seconds: its time; None if it was part of another transaction.
        """
        got = Counter(map(pool_of, tasks))
        self._observer.claimed(Counter(task.provider for task in tasks), seconds)
        self._submit_unanswered()
        self._empty.difference_update(wanted)
        unexamined = self._db.lane_accounts.unexamined
        self._empty.update(pool for pool, count in wanted.items() if got[pool] < count and pool not in unexamined)
        self._submit(tasks, owner)

    def _submit_unanswered(self) -> None:
        """Submit the jobs of claims whose responses were lost, before their leases expire."""
        if self._unanswered:
            # An owner of a lost response may also have jobs that run. Read before the lookup: a job that is recorded
            # in between is not leased any more.
            known = set(self._running.keys())
            with suppress(Unavailable):
                for owner, tasks in queue.claimed(self._db, list(self._unanswered)).items():
                    self._submit([task for task in tasks if (task.job_id, task.attempt) not in known], owner)
                self._unanswered.clear()
                self._on_late_claim()

    def _submit(self, tasks: list[Task], owner: str) -> None:
        if not tasks:
            return
        for task in tasks:
            self._limits.fill_in(task)
            self._log.debug("claimed", job_id=task.job_id, attempt=task.attempt, provider=task.provider)
        # Before the submission: events of the tasks may arrive during it.
        returned = {(task.job_id, task.attempt): task.returned_attempts for task in tasks if task.returned_attempts}
        self._running.add([(task.job_id, task.attempt) for task in tasks], owner, returned)
        self._executor.submit(tasks)
        self._running.submitted([(task.job_id, task.attempt) for task in tasks])
        # A cancellation may have been requested after the claim and forwarded before the executor had the task.
        for task in tasks:
            if self._running.cancel_requested((task.job_id, task.attempt)):
                self._executor.cancel(task.job_id, task.attempt)
