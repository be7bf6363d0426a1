# SPDX-License-Identifier: Apache-2.0
"""The ground of all steps of submissions: the agenda, the ledger, and calls of the vendor that change nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog

from qonduit.execution.v1.vendor_pb2 import (
    Submission,
    VendorCall,
    VendorErrorKind,
    VendorJob,
    VendorOutcomes,
    VendorReply,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.device_prices import add_computed_cost
from qonduit_server.errors import Unavailable
from qonduit_server.execution.remote.remote_jobs import Agenda, Line, Part, RemoteJob, RemoteJobs, Step, StepKind
from qonduit_server.execution.remote.vendor_processes import VendorProcesses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import Change, Entry, State
from qonduit_server.store.jobs.submissions import Superseded

_log = structlog.get_logger("qonduit.remote")

#: The end of the message of a rejected credential.
RENEW: Final = ": store a valid credential, and rerun the job with it"


class LeaseLost(Exception):
    """Another server has the lease of the job: this one does nothing more for it."""


class PartSteps:
    """What the steps of all submissions use.

    Args:
        db: has the ledger.
        processes: make the calls.
        jobs: those of this server.
        agenda: receives the next steps.
        terms: returns the terms of a provider's vendor.
        on_done: called when the outcomes of all submissions of a job are stored.
        on_polls: polls a line.
        clock: the monotonic clock, in seconds.
        chance: the source of jitter.
    """

    def __init__(
        self,
        db: Database,
        processes: VendorProcesses,
        jobs: RemoteJobs,
        agenda: Agenda,
        terms: Callable[[str], VendorTerms],
        *,
        on_done: Callable[[RemoteJob], None],
        on_polls: Callable[[Line], None],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self.db = db
        self.processes = processes
        self.jobs = jobs
        self.clock = clock
        self.chance = chance
        self._agenda = agenda
        self._terms = terms
        self._on_done = on_done
        self._on_polls = on_polls

    def schedule(self, kind: StepKind, job: RemoteJob, run: Callable[[], None], seconds: float = 0.0) -> None:
        """Run a step of a job after a time. Without the lease, the job is forgotten."""

        def guarded() -> None:
            try:
                run()
            except LeaseLost:
                self.lose(job)
            except Superseded:
                _log.debug("step superseded", job_id=job.holder.job_id, step=kind)

        self._agenda.add(Step(kind, job.account.provider, guarded), self.clock() + seconds)

    def change(self, part: Part, **changes: Any) -> None:
        """Change the ledger. Raises LeaseLost."""
        changed = Change(holder=part.job.holder, stage=part.stage, part=part.part, **changes)
        if not submissions.change(self.db, changed):
            raise LeaseLost

    def entry(self, part: Part) -> Entry:
        """Return the submission of a part."""
        entries = submissions.read(self.db, [part.job.holder.job_id]).get(part.job.holder.job_id, [])
        return next(each for each in entries if (each.stage, each.part) == (part.stage, part.part))

    def line(self, job: RemoteJob) -> Line:
        """Return the line of the calls of a job."""
        return self.jobs.line(job.account, self._terms)

    def lose(self, job: RemoteJob) -> None:
        """Forget a job that another server has."""
        self.jobs.end(job)
        self.jobs.forget(job.key)

    def pause(self, job: RemoteJob) -> float:
        """Return the seconds for which the vendor is not called with the account of a job; 0 if it can be called."""
        return max(0.0, self.line(job).pause.until - self.clock())

    def call(self, line: Line, call: VendorCall) -> VendorReply:
        """Make a call with the account of a line. Its failure is the error of the reply."""
        return self.processes.call(line.account, call, line.terms.call_seconds)

    def read(self, job: RemoteJob, call: VendorCall, *, refusable: bool = False) -> VendorReply:
        """Make a call that may be repeated. If the reply contains an error, the account pauses.

        Args:
            job: of which the account makes the call.
            call: the call.
            refusable: whether a refusal concerns the objects of the call alone, so that the account does not pause.
        """
        line = self.line(job)
        reply = self.call(line, call)
        if not reply.HasField("error") or (refusable and reply.error.kind == VendorErrorKind.VENDOR_ERROR_KIND_REFUSED):
            line.pause.succeeded()
            return reply
        line.pause.failed(self.clock(), reply.error.retry_after_seconds, self.chance)
        _log.info("vendor call failed", provider=job.account.provider, why=reply.error.message)
        if reply.error.kind == VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL:
            with suppress(Unavailable):  # the next call fails in the same way
                self._renew_credential(line, reply.error.message)
        return reply

    def _renew_credential(self, line: Line, why: str) -> None:
        """Read the credentials of the jobs of a line again: the owner may have stored a new one."""
        line.pause.until = max(line.pause.until, self.clock() + line.terms.poll_seconds)
        own = self.jobs.of_line(line)
        for job, found in zip(own, submissions.credentials(self.db, [job.holder for job in own]), strict=True):
            if found is not None and found.secret and found.secret != job.account.credential:
                account = line.account._replace(credential=found.secret)
                self.jobs.move(job, self.jobs.line(account, self._terms))
                for part in job.parts.values():
                    if part.polled:
                        part.polled = 0
                        self.poll_at(part, 0.0)
            elif found is not None:
                name = f"credential {found.id}" if found.id else "the job's credential"
                message = f"{job.account.provider} does not accept {name}, which may have expired: replace its secret, "
                message += f"and the job continues ({why})"
                try:
                    for part in list(job.parts.values())[:1]:
                        self.change(part, message=message)
                except LeaseLost:
                    self.lose(job)

    def poll_at(self, part: Part, seconds: float) -> None:
        """Poll a part after a time, unless it waits to be polled."""
        line, due = self.line(part.job), self.clock() + seconds
        if part.polled:
            return
        self.jobs.push_poll(line, due, part)
        self.wake(line)

    def wake(self, line: Line) -> None:
        """Schedule the next poll of a line, unless an earlier one is scheduled."""
        at = self.jobs.next_poll(line)
        if at is not None:
            self._agenda.add(Step("poll", line.account.provider, partial(self._on_polls, line)), at)

    def request(self, part: Part) -> Submission:
        """Return what a part sends."""
        return submissions.request(self.db, part.job.holder.job_id, part.stage, part.part)

    def store_failure(
        self,
        part: Part,
        wanted: Submission,
        reason: str,
        message: str,
        code: str = "",
        expects: Collection[State] = (State.SUBMITTING, State.SUBMITTED),
        *,
        cancelled: bool = False,
    ) -> None:
        """Store a failure as the outcome of each circuit of a part, which is `cancelled` if it was not run."""
        failure = Failure(
            category=FailureCategory.FAILURE_CATEGORY_PROVIDER, reason=reason, message=message, provider_code=code
        )
        outcomes = VendorOutcomes()
        for _ in wanted.circuits:
            outcomes.outcomes.add(failure=failure)
        self.store(part, wanted, outcomes, None, expects, cancelled=cancelled)

    def store(
        self,
        part: Part,
        wanted: Submission,
        outcomes: VendorOutcomes,
        raw: bytes | None,
        expects: Collection[State] = (State.SUBMITTED,),
        *,
        message: str | None = None,
        job: VendorJob | None = None,
        cancelled: bool = False,
    ) -> None:
        """Store the outcomes of a part, which is then done, and what the vendor reports at last, if it is known."""
        shown = job is not None
        if wanted.HasField("rates"):
            job = job if job is not None else self.entry(part).status
            add_computed_cost(job, wanted)
        outcomes.key, outcomes.part, outcomes.first_circuit = wanted.key, wanted.part, wanted.first_circuit
        # Again if an earlier step had no answer of the database.
        changes = {"outcomes": outcomes, "raw": raw, "message": message, "job": job, "shown": shown}
        self.change(part, expects=(*expects, State.DONE), state=State.DONE, **changes)
        part.job.stopped |= cancelled
        part.job.finished |= any(not each.HasField("failure") for each in outcomes.outcomes)
        part.done = True
        self.check_done(part.job)

    def check_done(self, job: RemoteJob) -> None:
        """Report a job of which all outcomes are stored."""
        parts = job.own_parts
        if parts and all(part.done for part in parts):
            self._on_done(job)
