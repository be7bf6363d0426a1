# SPDX-License-Identifier: Apache-2.0
"""Submits parts of jobs to vendors, each at most once, and finds out what became of submissions without an answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.vendor_pb2 import (
    Idempotency,
    Submission,
    VendorCall,
    VendorErrorKind,
    VendorJob,
    VendorReply,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.errors import Unavailable
from qonduit_server.execution.remote.part_steps import RENEW, PartSteps
from qonduit_server.execution.remote.poll_intervals import jittered
from qonduit_server.execution.remote.remote_jobs import Part, RemoteJob
from qonduit_server.execution.remote.vendor_processes import CallLost, CallNotMade
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import Entry, State

_log = structlog.get_logger("qonduit.remote")

_UNSPECIFIED: Final = VendorErrorKind.VENDOR_ERROR_KIND_UNSPECIFIED
_REFUSED: Final = VendorErrorKind.VENDOR_ERROR_KIND_REFUSED
_CREDENTIAL: Final = VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL
#: A second call with the same id or token has no further effect.
_REPEATABLE: Final = (Idempotency.IDEMPOTENCY_CLIENT_ID, Idempotency.IDEMPOTENCY_CLIENT_TOKEN)


class Submitter:
    """Submits parts.

    Args:
        steps: the ground of all steps.
        on_submitted: called with a part whose vendor's id the ledger contains, and with what the vendor reported.
        on_cancelled: called with a part that is not sent, because its job was cancelled.
        on_failure: ends the task of a job with a failure.
    """

    def __init__(
        self,
        steps: PartSteps,
        *,
        on_submitted: Callable[[Part, VendorJob], None],
        on_cancelled: Callable[[Part], None],
        on_failure: Callable[[RemoteJob, Failure], None],
    ) -> None:
        self._steps = steps
        self._on_submitted = on_submitted
        self._on_cancelled = on_cancelled
        self._on_failure = on_failure

    def submit(self, part: Part, *, again: bool = False) -> None:
        """Submit a part.

        Args:
            part: the part.
            again: whether a call without an answer is repeated: it has no further effect if the vendor has the part.
        """
        job, line = part.job, self._steps.line(part.job)
        if job.ended:
            return
        if self._stored(part):
            return
        entry = self._steps.entry(part)
        if entry.state == State.SUBMITTING and not again:
            # This step was interrupted while the database was away.
            self.recover(part)
            return
        if job.cancelled:
            # Whether the vendor has the part is not known if the call would be a repetition.
            (self.recover if again else self._on_cancelled)(part)
            return
        # A repetition is decided again after the pause: the vendor may have forgotten the token by then.
        following = self.recover if again else self.submit
        if (wait := line.pause.until - self._steps.clock()) > 0:
            self._steps.schedule("submit", job, partial(following, part), wait)
            return
        terms = line.terms
        wanted = self._steps.request(part)
        call = VendorCall()
        call.submit.token = entry.token
        call.submit.submission.CopyFrom(wanted)
        if job.group is not None and not part.is_group:
            call.submit.group_id = job.group.vendor_id
        reply = self._call_once(part, entry, call, terms, again=again)
        if not reply.HasField("error") and (len(reply.jobs) != 1 or not reply.jobs[0].vendor_id):
            reply.error.message = "the vendor's answer contains no id"
        error = reply.error
        if not reply.HasField("error"):
            line.pause.succeeded()
            part.answer = reply.jobs[0]
            self._submitted(part, reply.jobs[0])
        elif error.kind == _UNSPECIFIED:
            _log.warning("submission without an answer", job_id=job.holder.job_id, why=error.message)
            self._steps.change(part, message=f"the submission has no answer, and is looked up: {error.message}")
            left = max(0.0, (self._steps.entry(part).deadline - submissions.now(self._steps.db)) / 1e6)
            self._steps.schedule("recover", job, partial(self.recover, part), left)
        elif again:
            # What the first call changed is still not known, whatever the vendor answers to this one.
            line.pause.failed(self._steps.clock(), error.retry_after_seconds, self._steps.chance)
            self._steps.change(part, expects=(State.SUBMITTING,), message=f"not submitted yet: {error.message}")
            self._steps.schedule("submit", job, partial(self.recover, part), self._steps.pause(job))
        else:
            part.unsent = error
            if error.kind not in (_REFUSED, _CREDENTIAL):
                line.pause.failed(self._steps.clock(), error.retry_after_seconds, self._steps.chance)
            self._unsent(part, error)

    def _stored(self, part: Part) -> bool:
        """Store the vendor's answer if an earlier step could not; return whether there was one."""
        if part.answer is not None:
            self._submitted(part, part.answer)
        elif part.unsent is not None:
            self._unsent(part, part.unsent)
        else:
            return False
        return True

    def _unsent(self, part: Part, error: VendorReply.Error) -> None:
        """Store that a submission changed nothing. It ends if the vendor refused it, else it is made again."""
        if error.kind in (_REFUSED, _CREDENTIAL):
            self._refused(part, self._steps.request(part), error)
            return
        expects = (State.PLANNED, State.SUBMITTING)
        message = f"not submitted yet: {error.message}"
        self._steps.change(part, expects=expects, state=State.PLANNED, message=message)
        part.unsent = None
        self._steps.schedule("submit", part.job, partial(self.submit, part), self._steps.pause(part.job))

    def _call_once(self, part: Part, entry: Entry, call: VendorCall, terms: VendorTerms, *, again: bool) -> VendorReply:
        """Write the intent, then submit; return the reply. A failure of the call is its error."""
        begins = timedelta(seconds=terms.submit_seconds + terms.grace_seconds)
        expects = (State.SUBMITTING if again else State.PLANNED,)
        try:
            with self._steps.processes.process(part.job.account) as process:
                # Read before the intent is committed: the process refuses the call later, and ends itself then.
                until = self._steps.clock() + terms.submit_seconds
                # The process may have taken minutes to start.
                if again and not _repeatable(entry, terms, submissions.now(self._steps.db)):
                    raise CallNotMade("the vendor may have forgotten the first call")
                self._begin(part, expects, begins, again=again)
                return process.call(call, until)
        except (CallLost, CallNotMade) as failed:
            return VendorReply(error=failed.error)

    def _begin(self, part: Part, expects: Collection[State], begins: timedelta, *, again: bool) -> None:
        """Write the intent. If the database does not answer, it may contain it, although nothing was sent."""
        try:
            self._steps.change(part, expects=expects, state=State.SUBMITTING, begins=begins)
        except Unavailable:
            if not again:
                not_sent = VendorErrorKind.VENDOR_ERROR_KIND_NOT_SENT
                part.unsent = VendorReply.Error(kind=not_sent, message="the database did not answer")
            raise

    def _submitted(self, part: Part, found: VendorJob) -> None:
        self._steps.change(part, expects=(State.SUBMITTING,), state=State.SUBMITTED, job=found, message="", shown=True)
        part.vendor_id, part.answer = found.vendor_id, None
        self._on_submitted(part, found)

    def _refused(self, part: Part, wanted: Submission, error: VendorReply.Error) -> None:
        reason, hint = "VENDOR_REFUSED", ""
        if error.kind == _CREDENTIAL:
            reason, hint = "CREDENTIAL_REJECTED", RENEW
        message = f"{part.job.account.provider} refused the submission, which is not charged: {error.message}{hint}"
        if part.is_group:
            self._steps.change(part, expects=(State.PLANNED, State.SUBMITTING), state=State.DONE)
            provider = FailureCategory.FAILURE_CATEGORY_PROVIDER
            failure = Failure(category=provider, reason=reason, message=message, provider_code=error.code)
            part.done = True
            self._on_failure(part.job, failure)
            return
        self._steps.store_failure(part, wanted, reason, message, error.code, expects=(State.PLANNED, State.SUBMITTING))

    def recover(self, part: Part) -> None:
        """Find out what became of a submission without an answer, once it can no longer arrive."""
        job, entry = part.job, self._steps.entry(part)
        if job.ended:
            return
        if self._stored(part):
            return
        now = submissions.now(self._steps.db)
        if now < entry.deadline:
            self._steps.schedule("recover", job, partial(self.recover, part), (entry.deadline - now) / 1e6)
            return
        terms = self._steps.line(job).terms
        # By the class at the submission, which a new version of the provider may have changed.
        if entry.idempotency in _REPEATABLE and not job.cancelled:
            if _repeatable(entry, terms, now):
                self.submit(part, again=True)
                return
        elif entry.idempotency == Idempotency.IDEMPOTENCY_TAG:
            if (pause := self._steps.pause(job)) > 0:
                self._steps.schedule("recover", job, partial(self.recover, part), pause)
                return
            found, answered = self._find(part, entry)
            if found is not None:
                self._submitted(part, found)
                return
            # Absence from a list shows nothing: lists lag. It never permits a repetition.
            if not answered or now < entry.deadline + terms.recovery_seconds * 1e6:
                wait = jittered(terms.poll_seconds * 2, self._steps.chance)
                self._steps.schedule("recover", job, partial(self.recover, part), wait)
                return
        message = "it is not known whether the vendor has the job"
        self._steps.change(part, expects=(State.SUBMITTING,), state=State.UNKNOWN, message=message, shown=True)
        self._on_failure(job, unknown(job, entry))

    def _find(self, part: Part, entry: Entry) -> tuple[VendorJob | None, bool]:
        """Look a submission up by its tag; return it if the vendor lists it, and whether the vendor answered."""
        call = VendorCall()
        call.find.token, call.find.device = entry.token, part.job.device
        reply = self._steps.read(part.job, call)
        if reply.HasField("error"):
            return None, False
        return (reply.jobs[0] if reply.jobs and reply.jobs[0].vendor_id else None), True


def _repeatable(entry: Entry, terms: VendorTerms, now: int) -> bool:
    """Return whether a repetition that begins now arrives before the vendor may have forgotten the first call."""
    longest = terms.submit_seconds + terms.grace_seconds
    return now + longest * 1e6 < entry.begun_at + terms.recovery_seconds * 1e6


def unknown(job: RemoteJob, entry: Entry, adopted: str = "") -> Failure:
    """Return the failure of a job whose submission may have reached the vendor.

    Args:
        job: the job.
        entry: its submission.
        adopted: an id that a user has stated, and that the vendor does not know.
    """
    wrong = f"{job.account.provider} does not know its job {adopted}. " if adopted else ""
    tag = f" with the tag {entry.token}" if entry.idempotency == Idempotency.IDEMPOTENCY_TAG else ""
    again = f" A rerun submits all {len(job.own_parts)} parts again." if len(job.own_parts) > 1 else ""
    settle = (
        f"Then run `qonduit resolve {job.holder.job_id}` with `--vendor-id ID`, "
        "or with `--not-submitted` if it does not exist."
    )
    if entry.is_group:
        message = (
            f"The request to {job.account.provider} to open a {entry.key} on {job.device} had no answer. It may exist, "
            f"so no second one is opened, and no program was submitted. {settle}"
        )
    else:
        message = (
            f"{wrong}The submission of part {entry.part} of call {entry.stage} to {job.account.provider}/{job.device} "
            "had no answer. The vendor may have the job and charge for it, so it is not sent again. Look in the "
            f"vendor's list for a job{tag} of the time of this attempt. {settle}{again}"
        )
    return Failure(category=FailureCategory.FAILURE_CATEGORY_PROVIDER, reason="SUBMISSION_UNKNOWN", message=message)
