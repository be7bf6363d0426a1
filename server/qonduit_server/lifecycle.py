# SPDX-License-Identifier: Apache-2.0
"""The states of a job and the steps between them, as one table."""

from __future__ import annotations

from typing import Final

from qonduit.v1.job_pb2 import JobState

QUEUED: Final = JobState.JOB_STATE_QUEUED
RUNNING: Final = JobState.JOB_STATE_RUNNING
CANCELLING: Final = JobState.JOB_STATE_CANCELLING
SUCCEEDED: Final = JobState.JOB_STATE_SUCCEEDED
FAILED: Final = JobState.JOB_STATE_FAILED
CANCELLED: Final = JobState.JOB_STATE_CANCELLED

#: From each state, the states a job may go to. RUNNING -> QUEUED is a lost worker or a handed-back lease. CANCELLING ->
#: SUCCEEDED or FAILED is a job that ended before its cancel took effect.
TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    QUEUED: frozenset({RUNNING, CANCELLED, FAILED}),
    RUNNING: frozenset({QUEUED, CANCELLING, SUCCEEDED, FAILED}),
    CANCELLING: frozenset({CANCELLED, SUCCEEDED, FAILED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

TERMINAL: Final[frozenset[JobState]] = frozenset(state for state, steps in TRANSITIONS.items() if not steps)
#: States in which a dispatcher holds a lease on the job.
LEASED: Final[frozenset[JobState]] = frozenset({RUNNING, CANCELLING})


def may(before: JobState, after: JobState) -> bool:
    """Whether a job may go from `before` to `after`."""
    return after in TRANSITIONS[before]


def is_terminal(state: JobState) -> bool:
    """Whether a job in this state has ended."""
    return state in TERMINAL
