# SPDX-License-Identifier: Apache-2.0
"""The command line shows each change of a job at its vendor as one line."""

from __future__ import annotations

import pytest

from qonduit.v1.event_pb2 import JobEvent, StateChange
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job, JobState, ProviderStatus, VendorCancellation, VendorCost, VendorGroup
from qonduit_client.formatting import event_text

LATER: int = 99


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ProviderStatus(state="ready"), "ready"),
        (ProviderStatus(state="in line", queue_position=0), "in line; place 0 in its queue"),
        (
            ProviderStatus(state="completed", computed_cost=VendorCost(amount=0.25, unit="EUR")),
            "completed; cost by prices 0.25 EUR",
        ),
        (ProviderStatus(state="completed", cost=VendorCost(amount=0.25, unit="usd")), "completed; cost 0.25 usd"),
        (
            ProviderStatus(
                state="failed",
                cancellation=VendorCancellation.VENDOR_CANCELLATION_TOO_LATE,
                may_be_charged=True,
                message="the cryostat is warm",
            ),
            "failed; cancelled too late; it may be charged; the cryostat is warm",
        ),
        (
            ProviderStatus(state="Queued", group=VendorGroup(id="group-1", state="open")),
            "Queued; in group-1 (open)",
        ),
        (ProviderStatus(), ""),
    ],
)
def test_a_change_at_the_vendor_is_one_line(status: ProviderStatus, text: str) -> None:
    assert event_text(JobEvent(provider_status=status)) == ("vendor", text)


def test_an_answer_of_a_newer_server_is_left_out() -> None:
    status = ProviderStatus(state="ready")
    status.cancellation = LATER  # type: ignore[assignment]  # a value of a later version
    assert event_text(JobEvent(provider_status=status)) == ("vendor", "ready")


def test_a_change_of_the_state_shows_the_failure_or_the_attempt() -> None:
    running = StateChange(to_state=JobState.JOB_STATE_RUNNING, job=Job(attempt=2))
    assert event_text(JobEvent(state_change=running)) == ("running", "attempt 2")
    failure = Failure(reason="VENDOR_FAILED", message="the cryostat is warm")
    failed = StateChange(to_state=JobState.JOB_STATE_FAILED, job=Job(attempt=2, failure=failure))
    assert event_text(JobEvent(state_change=failed)) == ("failed", "the cryostat is warm [VENDOR_FAILED]")
