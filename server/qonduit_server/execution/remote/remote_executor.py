# SPDX-License-Identifier: Apache-2.0
"""The executor of a server with vendors: another executor runs simulators and prepares jobs, and this one the rest.

A job at a vendor is prepared by a worker, which returns its submissions. They are recorded, sent and polled here. Then
a worker runs the task again with the outcomes, and returns results or further submissions. While a job is at its
vendor, no worker, no thread and no time limit is in use for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskFinished
from qonduit.execution.v1.vendor_pb2 import Submission, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit_server.errors import FailedPrecondition, QuotaExceeded, Unavailable
from qonduit_server.execution.executor import Executor, Key, Listener, Loss, LossKind
from qonduit_server.execution.remote.account_calls import AccountCalls
from qonduit_server.execution.remote.left_groups import LeftGroups
from qonduit_server.execution.remote.part_steps import LeaseLost
from qonduit_server.execution.remote.remote_jobs import Agenda, RemoteJob, RemoteJobs, Step
from qonduit_server.execution.remote.terms import with_defaults
from qonduit_server.execution.remote.vendor_estimates import EstimateRefused
from qonduit_server.execution.remote.vendor_processes import Account, VendorProcesses
from qonduit_server.execution.remote.vendor_work import VendorWork
from qonduit_server.execution.wrapping_executor import WrappingExecutor
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import Holder
from qonduit_server.store.jobs.submissions import SubmissionUnknown

_log = structlog.get_logger("qonduit.remote")

#: The maximum number of jobs of a provider that workers prepare at once; others wait in the queue.
_PREPARING: Final = 32
#: The same while all workers are busy.
_PREPARING_WHEN_BUSY: Final = 2
#: The maximum number of jobs of a provider at its vendor, for each server: about 2 KiB of memory each.
MAX_JOBS: Final = 50_000
STOPPED: Final = Loss(LossKind.STOPPED, "the server stops; the job stays at its vendor")
_CANCELLED: Final = Loss(LossKind.CANCELLED, "cancelled at its vendor")
#: The events of a program or a task that has not succeeded, or at its end.
_ENDS: Final = ("program_failed", "finished")
_DATABASE_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 5.0
#: When the server stops, calls have this time to end: a submission that is cut off has to be looked up.
_CALL_SECONDS: Final = 5.0


class RemoteExecutor(WrappingExecutor):
    """Runs jobs at vendors. Thread-safe. See `Executor`.

    Args:
        base: the executor of workers, which is launched and not started.
        db: has the submission ledger.
        processes: make the calls of vendors.
        server: the id of this server, under which it claims jobs.
        providers: the names of the remote providers.
        on_fault: called when a thread has ended by a fault: the server should end.
    """

    def __init__(
        self,
        base: Executor,
        db: Database,
        processes: VendorProcesses,
        *,
        server: str,
        providers: Collection[str],
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(base)
        self._db = db
        self._processes = processes
        self._server = server
        self._providers = frozenset(providers)
        self._on_fault = on_fault
        self._terms: dict[str, VendorTerms] = {}
        self._jobs = RemoteJobs()
        self._agenda = Agenda(time.monotonic)
        self._work = VendorWork(
            db,
            processes,
            self._jobs,
            self._agenda,
            self._terms_of,
            on_done=self._outcomes_known,
            on_failure=self._fail,
        )
        #: Makes the calls that concern no job.
        self.accounts: Final = AccountCalls(processes, self._terms_of, self._providers)
        self._left = LeftGroups(db, self.accounts.call, self._terms_of, self._providers, on_fault)
        self._threads: list[threading.Thread] = []
        #: The providers whose calls have threads, and the lock of the two.
        self._started: set[str] = set()
        self._starting = threading.Lock()
        self._suspended = threading.Event()
        self._listener: Listener

    # ---- the executor of workers

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """See `Executor`."""
        return [self.adopt(each) for each in self._base.descriptions(timeout)]

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        """See `Executor`."""
        return self.adopt(self._base.describe(provider, timeout))

    def adopt(self, description: ProviderDescription) -> ProviderDescription:
        """Adopt the terms of a description; return it."""
        if description.HasField("vendor"):
            self._terms[description.provider.name] = with_defaults(description.vendor)
        return description

    def _terms_of(self, provider: str) -> VendorTerms:
        return self._terms.get(provider) or with_defaults(VendorTerms())

    # ---- tasks

    def start(self, listener: Listener) -> None:
        """See `Executor`."""
        self._listener = listener
        self._base.start(_PreparationListener(self, listener))
        self._left.start()

    def vendor_capacity(self) -> Mapping[str, int]:
        """Return the number of further jobs wanted for vendors, by provider name: also while its workers are busy."""
        if self._suspended.is_set():
            return {}
        wanted, environments = self._base.capacity(), self._base.environments()
        found = {}
        for name in self._providers:
            number, preparing = self._jobs.counts(name)
            most = _PREPARING if wanted.get(name) else _PREPARING_WHEN_BUSY if environments.get(name) else 0
            if (count := min(most - preparing, MAX_JOBS - number)) > 0:
                found[name] = count
        return found

    def submit(self, tasks: Sequence[Task]) -> None:
        """See `Executor`."""
        opened: list[tuple[RemoteJob, Task]] = []
        for task in tasks:
            if task.HasField("vendor_device"):
                holder = Holder(task.job_id, task.attempt, self._server)
                account = Account(task.provider, task.credential)
                # A worker prepares it, unless the ledger shows that it is at the vendor.
                job = RemoteJob(holder, task.device, account, preparing=True, mode=task.spec.vendor_options.mode)
                # An estimator may make calls that depend on earlier results.
                estimates = task.spec.type == JobType.JOB_TYPE_ESTIMATOR
                job.is_last_call = not estimates and not task.spec.HasField("stop_when")
                opened.append((job, task))
        self._jobs.add((job for job, _ in opened), self._terms_of)
        for name in {job.account.provider for job, _ in opened}:
            self._begin_calls(name)
        if opened:
            self._agenda.add(Step("open", opened[0][0].account.provider, partial(self._open, opened)))
        if local := [task for task in tasks if not task.HasField("vendor_device")]:
            self._base.submit(local)

    def tasks(self) -> Collection[Key]:
        """See `Executor`."""
        return {*self._base.tasks(), *self._jobs.keys()}

    def cancel(self, job_id: int, attempt: int) -> None:
        """See `Executor`. A job at its vendor ends when the vendor reports its end."""
        job = self._jobs.get((job_id, attempt))
        if job is None:
            self._base.cancel(job_id, attempt)
            return
        if job.cancelled:
            return
        job.cancelled = True
        if job.preparing and not job.parts:  # what the vendor has run is paid, so its results are completed
            self._base.cancel(job_id, attempt)
        self._work.cancel_job(job)

    def suspend(self) -> None:
        """End the tasks of all jobs at vendors with a loss STOPPED: the next server that claims them polls them.

        The calls that are under way end first, at last by force: no submission may arrive after another server has the
        job.
        """
        with self._starting:
            self._suspended.set()
        self._left.stop()
        self._agenda.close()
        until = time.monotonic() + _CALL_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._processes.stop()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        self._left.join(_JOIN_SECONDS)
        with_workers = set(self._base.tasks())
        for job in self._jobs.all():
            if job.held or job.key not in with_workers:
                self.lose(job, STOPPED)

    def stop(self, grace: float) -> None:
        """See `Executor`."""
        self.suspend()
        self._base.stop(grace)

    # ---- the threads

    def _begin_calls(self, provider: str) -> None:
        """Start the threads of a provider with its first job: one for each concurrent call.

        So no vendor waits for another one's calls.
        """
        with self._starting:
            if provider in self._started or self._suspended.is_set():
                return
            self._started.add(provider)
            calls = self._terms_of(provider).calls
            self._agenda.limit(provider, calls)
            for number in range(calls):
                thread = threading.Thread(target=self._serve, name=f"vendor-calls-{provider}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        try:
            while (step := self._agenda.take()) is not None:
                try:
                    step.run()
                except Unavailable:
                    if not self._suspended.is_set():
                        self._agenda.add(step, time.monotonic() + _DATABASE_SECONDS)
                finally:
                    self._agenda.done(step)
        finally:
            if not self._suspended.is_set():
                _log.error("a thread that calls vendors has ended")
                self._on_fault()

    def _open(self, opened: list[tuple[RemoteJob, Task]]) -> None:
        """Begin or continue jobs, as the ledger shows."""
        # All reads come first: the step is repeated if one fails, and no job may be opened twice.
        now = submissions.now(self._db)
        known = submissions.read(self._db, [job.holder.job_id for job, _ in opened])
        for job, task in opened:
            entries = known.get(job.holder.job_id)
            if entries:
                self._jobs.end_preparing(job)
                self._work.resume(job, entries, now)
            else:
                self._send_to_worker(job, task)
        self._listener.capacity_changed()

    def _send_to_worker(self, job: RemoteJob, task: Task) -> None:
        """Let a worker prepare a job, or complete it if the outcomes are known."""
        if job.cancelled and not job.parts:
            self.lose(job, Loss(LossKind.CANCELLED, "cancelled before it was submitted"))
            return
        task.credential = ""  # workers make no calls
        catalogue.set_stated_price(self._db, task.provider, task.vendor_device)
        if not task.spec.HasField("seed"):
            # All runs of a task must be the same.
            task.spec.drawn_seed = job.holder.job_id % 2**32
        self._base.submit([task])
        if job.cancelled and not job.parts:  # since the check
            self._base.cancel(*job.key)

    def _outcomes_known(self, job: RemoteJob) -> None:
        """Run the task of a job again, with the outcomes of its submissions."""
        if job.cancelled and job.stopped and not job.finished:
            self.lose(job, _CANCELLED)
        elif self._jobs.begin_preparing(job):
            self._work.schedule("prepare", job, partial(self._prepare, job))

    def _prepare(self, job: RemoteJob) -> None:
        task = submissions.task(self._db, job.holder)
        if task is None:
            raise LeaseLost
        task.vendor_outcomes.extend(submissions.outcomes(self._db, job.holder.job_id))
        self._send_to_worker(job, task)

    def prepared(self, job: RemoteJob, wanted: Sequence[Submission]) -> None:
        """Record the submissions that a worker returned, then submit them."""
        if self._suspended.is_set():
            self.lose(job, STOPPED)
        else:
            self._work.schedule("plan", job, partial(self._plan, job, wanted))

    def _plan(self, job: RemoteJob, wanted: Sequence[Submission]) -> None:
        if job.cancelled:
            self.lose(job, Loss(LossKind.CANCELLED, "cancelled before it was submitted"))
            return
        try:
            wait, why = self._work.add_estimates(job, wanted)
        except EstimateRefused as refused:
            self._fail(job, refused.failure)
            return
        if wait > 0:
            self._work.schedule("plan", job, partial(self._plan, job, wanted), wait)
            return
        idempotency = self._terms_of(job.account.provider).idempotency
        try:
            held = submissions.plan(self._db, job.holder, wanted, idempotency, why)
        except (FailedPrecondition, QuotaExceeded) as refused:
            message = f"{refused}; no part of this call was submitted"
            limit = FailureCategory.FAILURE_CATEGORY_LIMIT
            self._fail(job, Failure(category=limit, reason="COST_LIMIT", message=message))
            return
        except SubmissionUnknown as lost:
            provider = FailureCategory.FAILURE_CATEGORY_PROVIDER
            self._fail(job, Failure(category=provider, reason="SUBMISSION_UNKNOWN", message=str(lost)))
            return
        if not held:
            raise LeaseLost
        self._jobs.end_preparing(job)
        self._listener.capacity_changed()
        now, entries = submissions.now(self._db), submissions.read(self._db, [job.holder.job_id])[job.holder.job_id]
        self._work.resume(job, [entry for entry in entries if (entry.stage, entry.part) not in job.parts], now)

    # ---- the end of tasks

    def remote_job(self, key: Key) -> RemoteJob | None:
        """Return a job that this executor has."""
        return self._jobs.get(key)

    def _fail(self, job: RemoteJob, failure: Failure) -> None:
        job_id, attempt = job.key
        finished = TaskFinished(failure=failure)
        self.end(job, TaskEvent(job_id=job_id, attempt=attempt, finished=finished))

    def end(self, job: RemoteJob, finished: TaskEvent) -> None:
        """Report the end of a job, after its batch or session is closed."""
        self._end(job, lambda: self._listener.events([finished]))

    def lose(self, job: RemoteJob, loss: Loss) -> None:
        """Report a job as lost; as `end`, unless another server continues it."""
        if loss is not STOPPED:
            self._end(job, lambda: self._listener.lost(*job.key, loss))
        elif self._jobs.end(job) or job.held:
            job.held = False
            self._listener.lost(*job.key, loss)
            self.forget(job)

    def _end(self, job: RemoteJob, report: Callable[[], None]) -> None:
        if not self._jobs.end(job):
            return
        job.held = job.group is not None and not job.group.done
        if job.held:
            self._work.close_group(job, lambda: self._report(job, report))
        else:
            report()
            self.forget(job)

    def _report(self, job: RemoteJob, report: Callable[[], None]) -> None:
        if job.held:
            job.held = False
            report()
            self.forget(job)

    def forget(self, job: RemoteJob) -> None:
        """Forget a job whose end the listener has taken."""
        self._jobs.end(job)
        self._jobs.forget(job.key)
        self._listener.capacity_changed()


class _PreparationListener:
    """Takes the events of the executor of workers: submissions go to the vendor, the rest to the dispatcher."""

    def __init__(self, executor: RemoteExecutor, listener: Listener) -> None:
        self._executor = executor
        self._listener = listener

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Handle events of tasks; see `Listener`."""
        passed: list[TaskEvent] = []
        ended: list[RemoteJob] = []
        stopped: list[RemoteJob] = []
        held: list[tuple[RemoteJob, TaskEvent]] = []
        for event in events:
            job = self._executor.remote_job((event.job_id, event.attempt))
            if job is not None and job.cancelled and job.stopped and event.WhichOneof("event") in _ENDS:
                # The results of the parts that the vendor has finished are kept, and the job is cancelled.
                if event.HasField("finished"):
                    stopped.append(job)
                continue
            if job is not None and event.HasField("finished"):
                if event.finished.submissions:
                    self._executor.prepared(job, list(event.finished.submissions))
                    continue
                if job.group is not None:
                    held.append((job, event))
                    continue
                ended.append(job)
            passed.append(event)
        if passed:
            self._listener.events(passed)
        for job, event in held:
            self._executor.end(job, event)
        for job in ended:
            self._executor.forget(job)
        for job in stopped:
            self._executor.lose(job, _CANCELLED)

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a lost task; see `Listener`."""
        self._listener.lost(job_id, attempt, loss)
        job = self._executor.remote_job((job_id, attempt))
        if job is not None:
            self._executor.forget(job)

    def capacity_changed(self) -> None:
        """See `Listener`."""
        self._listener.capacity_changed()
