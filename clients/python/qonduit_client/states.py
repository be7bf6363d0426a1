# SPDX-License-Identifier: Apache-2.0
"""The names of job states, and the terminal states."""

from __future__ import annotations

from typing import Final

from qonduit.v1.job_pb2 import JobState

TERMINAL: Final = frozenset((JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED))


def state_name(state: int) -> str:
    """Return the short name of a job state; "STATE_<n>" if this client does not know it."""
    if state not in JobState.values():
        return f"STATE_{state}"
    return JobState.Name(state).removeprefix("JOB_STATE_")
