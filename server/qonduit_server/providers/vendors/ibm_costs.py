# SPDX-License-Identifier: Apache-2.0
"""The highest cost of a job of IBM's machines, which is also the limit that IBM enforces."""

from __future__ import annotations

import math
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Submission
from qonduit.v1.job_pb2 import VendorMode

#: The unit of costs: seconds of a machine of IBM.
UNIT: Final = "IBM seconds"
#: IBM charges for the time for which it reserves a machine. Typical are 0.3 ms a shot and some seconds a job.
_JOB_SECONDS: Final = 10.0
_CIRCUIT_SECONDS: Final = 1.0
_SHOT_SECONDS: Final = 0.002
#: The longest time for which IBM runs a job.
_MAX_SECONDS: Final = 10_800.0
#: IBM's estimator learns the errors of measurements from level 1 on, and runs each circuit with more noise at level 2.
_LEARNING_SECONDS: Final = 60.0
_REPETITIONS: Final = (1, 1, 3)


def most_seconds(submission: Submission) -> float:
    """Return the time after which IBM stops a job: it charges for no more."""
    seconds, circuits = _JOB_SECONDS, len(submission.circuits)
    if submission.HasField("estimation"):
        level = submission.estimation.resilience_level
        seconds += _LEARNING_SECONDS * (level > 0)
        # At most one circuit for each term of each observable.
        terms = sum(len(each.coefficients) for circuit in submission.circuits for each in circuit.observables)
        circuits = terms * _REPETITIONS[level]
    seconds += circuits * (_CIRCUIT_SECONDS + submission.shots * _SHOT_SECONDS)
    return min(float(math.ceil(seconds)), _MAX_SECONDS)


def highest_cost(submission: Submission) -> float:
    """Return the seconds that a submission costs at most.

    A session is charged by its duration. At its end, a job that runs continues up to its own limit, so a session
    costs at most its limit and those of its jobs. A batch is charged by its jobs.
    """
    if submission.group_seconds:
        return float(submission.group_seconds) if submission.mode == VendorMode.VENDOR_MODE_SESSION else 0.0
    return most_seconds(submission)
