# SPDX-License-Identifier: Apache-2.0
"""Polls, fetches and cancels the parts of jobs that vendors have. Every step can run again after a crash.

A step writes the ledger before and after it calls the vendor. It adds the next step to the agenda as its last act.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.vendor_pb2 import (
    Submission,
    VendorCall,
    VendorErrorKind,
    VendorJob,
    VendorJobState,
    VendorOutcome,
    VendorOutcomes,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import VendorCancellation
from qonduit_server.errors import Unavailable
from qonduit_server.execution.remote.part_steps import LeaseLost, PartSteps
from qonduit_server.execution.remote.poll_intervals import jittered, next_interval
from qonduit_server.execution.remote.remote_jobs import Agenda, Line, Part, RemoteJob, RemoteJobs
from qonduit_server.execution.remote.submitter import Submitter, unknown
from qonduit_server.execution.remote.vendor_estimates import VendorEstimates
from qonduit_server.execution.remote.vendor_groups import VendorGroups, clear_own_cost
from qonduit_server.execution.remote.vendor_processes import VendorProcesses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.submission_entries import ADOPTED_WORD, Entry, State
from qonduit_server.store.jobs.submissions import Superseded

#: The vendor does not know a submitted job: it fails after this number of polls in succession, because lists lag.
_MISSES: Final = 5
#: The results of a job that is done are not those of its circuits: it fails after this number of reads.
_FETCHES: Final = 5
#: A change of the place in the vendor's queue is stored after this time, or with another change.
_PLACE_SECONDS: Final = 30.0
_REFUSED: Final = VendorErrorKind.VENDOR_ERROR_KIND_REFUSED

_log = structlog.get_logger("qonduit.remote")


class VendorWork:
    """All steps of submissions.

    Args:
        db: has the ledger.
        processes: make the calls.
        jobs: those of this server.
        agenda: receives the next steps.
        terms: returns the terms of a provider's vendor.
        on_done: called when the outcomes of all submissions of a job are stored.
        on_failure: ends the task of a job with a failure.
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
        on_failure: Callable[[RemoteJob, Failure], None],
    ) -> None:
        self._on_failure = on_failure
        self._steps = PartSteps(
            db,
            processes,
            jobs,
            agenda,
            terms,
            on_done=on_done,
            on_polls=self.poll,
            clock=time.monotonic,
            chance=random.Random(),
        )
        self._submitter = Submitter(
            self._steps, on_submitted=self._submitted, on_cancelled=self._end_unsent, on_failure=on_failure
        )
        self.schedule = self._steps.schedule
        self._groups = VendorGroups(self._steps)
        self.close_group = self._groups.close
        self.add_estimates = VendorEstimates(self._steps).add

    def _submitted(self, part: Part, found: VendorJob) -> None:
        if part.is_group:
            for each in part.job.own_parts:
                self.schedule("submit", part.job, partial(self._submitter.submit, each))
            return
        part.word, part.place, part.shown_at = _word(found), _place(found), self._steps.clock()
        if part.job.cancelled:
            self.schedule("cancel", part.job, partial(self.cancel, part))
        terms = self._steps.line(part.job).terms
        self._steps.poll_at(part, jittered(next_interval(0.0, changed=True, terms=terms), self._steps.chance))
        self._groups.close_early(part.job)

    def resume(self, job: RemoteJob, entries: list[Entry], now: int) -> None:
        """Continue a job from the ledger, which was read at a time of the database's clock. Reads no database."""
        entries = [entry for entry in entries if entry.state != State.BARRED]
        for entry in entries:
            part = job.parts.setdefault((entry.stage, entry.part), Part(job, entry.stage, entry.part, entry.vendor_id))
            part.done = entry.state == State.DONE
        group = job.group
        for entry in entries:
            part = job.parts[entry.stage, entry.part]
            match entry.state:
                case State.PLANNED if group is not None and not part.is_group and not (group.vendor_id or group.done):
                    pass  # it is submitted once the group is open
                case State.PLANNED:
                    self.schedule("submit", job, partial(self._submitter.submit, part))
                case State.SUBMITTING:
                    left = max(0.0, (entry.deadline - now) / 1e6)
                    self.schedule("recover", job, partial(self._submitter.recover, part), left)
                case State.SUBMITTED if part.is_group:
                    pass
                case State.SUBMITTED:
                    self._steps.poll_at(part, 0.0)
                case State.DONE:
                    pass
                case _:
                    self._on_failure(job, unknown(job, entry))
                    return
        self._groups.close_early(job)
        self._steps.check_done(job)

    def poll(self, line: Line) -> None:
        """Poll the parts of a line that are due, with one call."""
        now = self._steps.clock()
        parts = self._steps.jobs.take_polls(line, now, line.terms.poll_batch)
        if parts:
            found = self._found(parts)
            for part in parts:
                part.polled = 0
                if part.job.ended or part.done:
                    continue
                if part.vendor_id in found:
                    self._guarded(part, partial(self._observe, part, found[part.vendor_id]))
                else:
                    part.interval = next_interval(part.interval, False, line.terms)
                    self._steps.poll_at(part, jittered(part.interval, self._steps.chance))
        self._steps.wake(line)

    def _found(self, parts: list[Part]) -> dict[str, VendorJob]:
        """Return what the vendor reports about parts, by id; nothing if the call failed, or not all are answered.

        A vendor may refuse a call for one id of many, so the halves of a refused call are polled.
        """
        call = VendorCall()
        ids = [part.vendor_id for part in parts]
        call.poll.vendor_ids.extend(ids)
        reply = self._steps.read(parts[0].job, call, refusable=True)
        if reply.error.kind == _REFUSED and len(parts) > 1:
            half = len(parts) // 2
            return self._found(parts[:half]) | self._found(parts[half:])
        if reply.error.kind == _REFUSED and not parts[0].unread:
            message = f"{parts[0].job.account.provider} does not report the state of its job: {reply.error.message}"
            self._guarded(parts[0], partial(self._show_unread, parts[0], message))
        if reply.HasField("error"):
            return {}
        # A state that is read for another job could end it.
        answers = zip(ids, (job.vendor_id for job in reply.jobs), strict=False)
        if len(reply.jobs) != len(ids) or any(found not in ("", own) for own, found in answers):
            _log.warning("poll with other jobs than wanted", provider=parts[0].job.account.provider, wanted=ids[:16])
            return {}
        return dict(zip(ids, reply.jobs, strict=True))

    def _show_unread(self, part: Part, message: str) -> None:
        """Show why a part cannot be read."""
        self._steps.change(part, message=message)
        part.unread = True

    def _guarded(self, part: Part, run: Callable[[], None]) -> None:
        """Do something for one of many parts: a lost lease concerns it alone."""
        try:
            run()
        except (LeaseLost, Superseded):
            self._steps.lose(part.job)
        except Unavailable:
            self._steps.poll_at(part, self._steps.line(part.job).terms.poll_seconds)

    def _observe(self, part: Part, found: VendorJob) -> None:
        """Record what a poll reports about a part."""
        found.vendor_id = part.vendor_id
        clear_own_cost(part.job, found)
        if part.unread:
            self._steps.change(part, message="")
            part.unread = False
        changed = _word(found) != part.word
        # A place in the queue changes with each job before it: it is shown now and then.
        moved = _place(found) != part.place and self._steps.clock() - part.shown_at >= _PLACE_SECONDS
        part.misses = part.misses + 1 if found.state == VendorJobState.VENDOR_JOB_STATE_MISSING else 0
        if found.state == VendorJobState.VENDOR_JOB_STATE_DONE:
            if changed:
                part.word = _word(found)
                self._steps.change(part, job=found, message="", shown=True)
            self.schedule("fetch", part.job, partial(self.fetch, part))
            return
        if found.state in (VendorJobState.VENDOR_JOB_STATE_FAILED, VendorJobState.VENDOR_JOB_STATE_CANCELLED):
            self._ended_badly(part, found)
            return
        if part.misses >= _MISSES:
            self._missing(part)
            return
        if (changed or moved) and not part.misses:
            part.word, part.place, part.shown_at = _word(found), _place(found), self._steps.clock()
            self._steps.change(part, job=found, message="", shown=True)
        part.interval = next_interval(part.interval, changed or part.misses > 0, self._steps.line(part.job).terms)
        self._steps.poll_at(part, jittered(part.interval, self._steps.chance))

    def _missing(self, part: Part) -> None:
        """End a part that the vendor does not know. One that was never seen may have been adopted by a wrong id."""
        entry = self._steps.entry(part)
        if entry.status.word == ADOPTED_WORD:
            message = f"the vendor does not know the job {part.vendor_id}"
            self._steps.change(part, expects=(State.SUBMITTED,), state=State.UNKNOWN, message=message, shown=True)
            self._on_failure(part.job, unknown(part.job, entry, part.vendor_id))
            return
        message = f"{part.job.account.provider} does not know its job {part.vendor_id} any more, and may charge for it"
        self._steps.store_failure(part, self._steps.request(part), "VENDOR_JOB_LOST", message)

    def _ended_badly(self, part: Part, found: VendorJob) -> None:
        cancelled = found.state == VendorJobState.VENDOR_JOB_STATE_CANCELLED
        charged = "may be charged" if found.may_be_charged else "is not charged, as far as the vendor reports"
        what = "cancelled" if cancelled else "failed"
        detail = f": {found.error}" if found.error else ""
        message = f"job {part.vendor_id} {what} at {part.job.account.provider}, and {charged}{detail}"
        confirmed = VendorCancellation.VENDOR_CANCELLATION_CONFIRMED if cancelled and part.job.cancelled else None
        self._steps.change(part, job=found, cancellation=confirmed, shown=True)
        reason, wanted = "VENDOR_CANCELLED" if cancelled else "VENDOR_FAILED", self._steps.request(part)
        self._steps.store_failure(part, wanted, reason, message, code=found.error_code, cancelled=cancelled)

    def fetch(self, part: Part) -> None:
        """Read the results of a part that is done, and store them."""
        job = part.job
        if job.ended or part.done:
            return
        if (pause := self._steps.pause(job)) > 0:
            self.schedule("fetch", job, partial(self.fetch, part), pause)
            return
        wanted, call = self._steps.request(part), VendorCall()
        call.fetch.vendor_id = part.vendor_id
        call.fetch.submission.CopyFrom(wanted)
        reply = self._steps.read(job, call)
        message = wrong_results(wanted, reply.results.outcomes)
        if message:
            message = f"{job.account.provider} returned {message} for its job {part.vendor_id}"
            if reply.HasField("error"):
                message = f"the results of its job {part.vendor_id} cannot be read yet: {reply.error.message}"
            else:
                part.failures += 1
            if part.failures >= _FETCHES:
                self._steps.store_failure(part, wanted, "VENDOR_RESULTS_UNREADABLE", message)
                return
            if reply.error.kind != VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL:  # which has a message of its own
                self._show_unread(part, message)
            wait = max(self._steps.pause(job), self._steps.line(job).terms.poll_seconds)
            self.schedule("fetch", job, partial(self.fetch, part), wait)
            return
        outcomes = VendorOutcomes(outcomes=reply.results.outcomes)
        found = None
        if reply.results.HasField("cost") or reply.results.HasField("seconds"):
            found = self._steps.entry(part).status
            if reply.results.HasField("cost"):
                found.cost, found.cost_unit = reply.results.cost.amount, reply.results.cost.unit
            if reply.results.HasField("seconds"):
                found.seconds = reply.results.seconds
        self._steps.store(part, wanted, outcomes, reply.results.raw, message="" if part.unread else None, job=found)

    def cancel_job(self, job: RemoteJob) -> None:
        """Cancel what the vendor has of a job; parts that were not sent end at once."""
        for part in list(job.parts.values()):
            run = self.cancel if part.vendor_id else self._end_unsent
            if not part.done and not (part.is_group and part.vendor_id):
                self.schedule("cancel", job, partial(run, part))

    def cancel(self, part: Part) -> None:
        """Request the cancellation of a part at the vendor, and record the vendor's answer."""
        job = part.job
        if job.ended or part.done:
            return
        if (pause := self._steps.pause(job)) > 0:
            self.schedule("cancel", job, partial(self.cancel, part), pause)
            return
        call = VendorCall()
        call.cancel.vendor_id = part.vendor_id
        line = self._steps.line(job)
        reply = self._steps.call(line, call)
        answer, message = VendorCancellation.VENDOR_CANCELLATION_REQUESTED, ""
        if reply.HasField("error") and reply.error.kind != _REFUSED:
            line.pause.failed(self._steps.clock(), reply.error.retry_after_seconds, self._steps.chance)
            self._steps.change(part, message=f"the vendor has not been asked to cancel yet: {reply.error.message}")
            self.schedule("cancel", job, partial(self.cancel, part), max(0.0, line.pause.until - self._steps.clock()))
            return
        if reply.HasField("error"):
            answer = VendorCancellation.VENDOR_CANCELLATION_REFUSED
            message = f"{job.account.provider} refused the cancellation, so the job continues: {reply.error.message}"
        elif reply.jobs and reply.jobs[0].state == VendorJobState.VENDOR_JOB_STATE_DONE:
            answer = VendorCancellation.VENDOR_CANCELLATION_TOO_LATE
            message = "the job had ended at the vendor before the cancellation, and is charged"
        self._steps.change(part, cancellation=answer, message=message)
        part.interval = 0.0
        self._steps.poll_at(part, 0.0)

    def _end_unsent(self, part: Part) -> None:
        """End a part of a cancelled job that was not sent; do nothing if it was."""
        if part.done:
            return
        message, wanted = "the job was cancelled before it was submitted, and is not charged", self._steps.request(part)
        expects = (State.PLANNED,)
        self._steps.store_failure(part, wanted, "VENDOR_CANCELLED", message, expects=expects, cancelled=True)


def _word(found: VendorJob) -> str:
    return f"{found.word}\0{found.cost}"


def _place(found: VendorJob) -> str:
    position = found.queue_position if found.HasField("queue_position") else ""
    return f"{position}\0{found.estimated_start.seconds}"


def wrong_results(wanted: Submission, outcomes: Sequence[VendorOutcome]) -> str:
    """Return why results are not those of a submission; empty if they are.

    Fewer shots than wanted are accepted: some vendors discard those that their error detection rejects.
    """
    if len(outcomes) != len(wanted.circuits):
        return f"{len(outcomes)} results of {len(wanted.circuits)}"
    for place, outcome in enumerate(outcomes):
        if outcome.HasField("failure"):
            continue
        if wanted.HasField("estimation"):
            if why := _wrong_estimates(len(wanted.circuits[place].observables), outcome):
                return f"{why} for circuit {place}"
            continue
        shots = sum(outcome.counts)
        if len(outcome.keys) != len(outcome.counts) or min(outcome.counts, default=0) < 0:
            return f"{len(outcome.counts)} counts of {len(outcome.keys)} outcomes, and none may be negative,"
        if not 0 < shots <= wanted.shots:
            return f"{shots} shots of {wanted.shots} for circuit {place}"
    return ""


def _wrong_estimates(observables: int, outcome: VendorOutcome) -> str:
    """Return why estimates are not those of a number of observables; empty if they are."""
    if len(outcome.values) != observables or len(outcome.standard_errors) != observables:
        return f"{len(outcome.values)} values and {len(outcome.standard_errors)} errors of {observables} observables"
    if not all(map(math.isfinite, (*outcome.values, *outcome.standard_errors))) or outcome.shots < 0:
        return "estimates that are no finite numbers"
    return ""
