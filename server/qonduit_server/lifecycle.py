# SPDX-License-Identifier: Apache-2.0
"""The states of a job and the transitions between them, as one table."""

from __future__ import annotations

from typing import Final

from qonduit.v1.job_pb2 import JobState

QUEUED: Final = JobState.JOB_STATE_QUEUED
RUNNING: Final = JobState.JOB_STATE_RUNNING
CANCELLING: Final = JobState.JOB_STATE_CANCELLING
SUCCEEDED: Final = JobState.JOB_STATE_SUCCEEDED
FAILED: Final = JobState.JOB_STATE_FAILED
CANCELLED: Final = JobState.JOB_STATE_CANCELLED

#: The allowed next states of each state. RUNNING -> QUEUED: the worker was lost, or the lease was released.
#: CANCELLING -> SUCCEEDED or FAILED: the job ended before the cancel took effect.
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
#: States of jobs that have not ended.
ACTIVE: Final[frozenset[JobState]] = frozenset(TRANSITIONS) - TERMINAL


def may(before: JobState, after: JobState) -> bool:
    """Return whether a job may change from `before` to `after`."""
    return after in TRANSITIONS[before]


def is_terminal(state: JobState) -> bool:
    """Return whether a job in this state has ended."""
    return state in TERMINAL
