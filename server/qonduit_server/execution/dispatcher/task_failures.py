# SPDX-License-Identifier: Apache-2.0
"""Handle lost tasks: requeue the job or fail it; and the failure of a job whose outcome cannot be stored."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.execution.dispatcher.large_result_writer import Item, Requeue
from qonduit_server.execution.executor import Key, Loss, LossKind
from qonduit_server.store.jobs.lease_ends import attempts_exhausted

NOT_STORED: Final = Failure(
    category=FailureCategory.FAILURE_CATEGORY_INTERNAL,
    reason="NOT_STORED",
    message="The outcome of the job cannot be stored. This is a fault of the server; its log contains the cause.",
)


def after_loss(loss: Loss, key: Key, returned: int, max_attempts: int, time_limit_seconds: float) -> Item:
    """Return the item that handles a lost task: a requeue of the job, or its `finished` event.

    Args:
        loss: the loss of the task.
        key: the job and the attempt.
        returned: the number of its attempts that do not count.
        max_attempts: the maximum number of attempts of a job whose worker dies.
        time_limit_seconds: the time limit of the task.
    """
    job_id, attempt = key
    counted = attempt - returned
    if loss.kind is LossKind.STOPPED or (loss.kind is LossKind.DIED and counted < max_attempts):
        return Requeue(key, loss.message, loss.kind is LossKind.DIED, loss.seconds)
    finished = TaskFinished(failure=failure_of(loss, counted, time_limit_seconds), seconds=loss.seconds)
    return TaskEvent(job_id=job_id, attempt=attempt, finished=finished)


def failure_of(loss: Loss, attempt: int, time_limit_seconds: float) -> Failure:
    """Return the failure of a job whose task was lost."""
    if loss.kind is LossKind.CANCELLED:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_WORKER,
            reason="CANCELLED",
            message=f"The job was {loss.message}.",
        )
    if loss.kind is LossKind.TIME_LIMIT:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_LIMIT,
            reason="TIME_LIMIT",
            message=f"The job ran longer than the {time_limit_seconds:g} s that this server allows "
            "(max_job_seconds). Use fewer shots, smaller circuits or fewer programs a job.",
        )
    return attempts_exhausted("WORKER_DIED", attempt, loss.message)
