# SPDX-License-Identifier: Apache-2.0
"""Asks vendors for the costs of submissions that have no price, if they estimate costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Submission, VendorCall, VendorErrorKind, VendorReply, VendorTerms
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.execution.remote.part_steps import RENEW, PartSteps
from qonduit_server.execution.remote.remote_jobs import RemoteJob

#: The limits of one call. The vendor's session makes up to one request for each submission.
_SUBMISSIONS: Final = 32
_BYTES: Final = 8 * 1024**2
#: A job waits for estimates for this number of calls that fail; then their costs are not known.
_CALLS: Final = 5


class EstimateRefused(Exception):
    """The vendor rejects the credential of a job.

    Attributes:
        failure: of the job.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class VendorEstimates:
    """Adds the estimates of vendors to the submissions of jobs.

    Args:
        steps: the ground of all steps.
    """

    def __init__(self, steps: PartSteps) -> None:
        self._steps = steps

    def add(self, job: RemoteJob, wanted: Sequence[Submission]) -> tuple[float, str]:
        """Add estimates to the submissions of a job.

        Returns:
            The seconds after which this is repeated, because the vendor does not answer now; 0 if it is not. And why
            submissions have no price, if the vendor has not estimated it.

        Raises:
            EstimateRefused: the vendor rejects the credential; so it would reject the submission.
        """
        line = self._steps.line(job)
        if not is_wanted(line.terms, wanted):
            return 0.0, ""
        if (pause := self._steps.pause(job)) > 0:
            return pause, ""
        error = add_estimates(lambda call: self._steps.call(line, call), wanted)
        if error is None:
            line.pause.succeeded()
            job.estimates = 0
            return 0.0, ""
        job.estimates += 1
        if error.kind == VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL:
            raise EstimateRefused(_rejected(job.account.provider, error))
        if error.kind == VendorErrorKind.VENDOR_ERROR_KIND_REFUSED or job.estimates >= _CALLS:
            return 0.0, why_unknown(job.account.provider, error)
        line.pause.failed(self._steps.clock(), error.retry_after_seconds, self._steps.chance)
        return max(self._steps.pause(job), line.terms.poll_seconds), ""


def is_wanted(terms: VendorTerms, submissions: Sequence[Submission]) -> bool:
    """Return whether the vendor estimates costs, and a submission has none."""
    return terms.estimates_costs and any(map(_is_unpriced, submissions))


def add_estimates(
    call_vendor: Callable[[VendorCall], VendorReply], submissions: Sequence[Submission]
) -> VendorReply.Error | None:
    """Add the vendor's estimates to submissions without a price; return the error of the first call that fails."""
    for batch in _batches([each for each in submissions if _is_unpriced(each)]):
        call = VendorCall(estimate=VendorCall.Estimate(submissions=batch))
        reply = call_vendor(call)
        if reply.HasField("error"):
            return reply.error
        amounts = [cost.amount for cost in reply.costs]
        if len(amounts) != len(batch) or not all(math.isfinite(amount) and amount >= 0 for amount in amounts):
            return VendorReply.Error(message="the vendor's answer contains no cost of each submission")
        for submission, cost in zip(batch, reply.costs, strict=True):
            submission.price.CopyFrom(cost)
    return None


def why_unknown(provider: str, error: VendorReply.Error) -> str:
    """Return why the cost of a job is not known."""
    return f"{provider} has not estimated it: {error.message}"


def _rejected(provider: str, error: VendorReply.Error) -> Failure:
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_PROVIDER,
        reason="CREDENTIAL_REJECTED",
        message=f"{provider} refused to estimate the cost: {error.message}{RENEW}",
        provider_code=error.code,
    )


def _is_unpriced(submission: Submission) -> bool:
    return not submission.HasField("price") and not submission.group_seconds


def _batches(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    batch: list[Submission] = []
    size = 0
    for each in submissions:
        size += each.ByteSize()
        if batch and (len(batch) >= _SUBMISSIONS or size > _BYTES):
            yield batch
            batch, size = [], each.ByteSize()
        batch.append(each)
    if batch:
        yield batch
