# SPDX-License-Identifier: Apache-2.0
"""Log the tracebacks in failures and remove them: they are never stored or sent to clients."""

from __future__ import annotations

import structlog

from qonduit.execution.v1.task_pb2 import ProgramFailed, TaskEvent, TaskFinished

_log = structlog.get_logger("qonduit.worker")


def log_traceback(event: TaskEvent, **ids: object) -> None:
    """Log the traceback of an event, if it has one, and remove it from the event.

    Args:
        event: the event of a worker.
        ids: the ids for the log line, for example of the job and the attempt.
    """
    failed: ProgramFailed | TaskFinished
    match event.WhichOneof("event"):
        case "program_failed":
            failed = event.program_failed
            ids["index"] = event.program_failed.index
        case "finished":
            failed = event.finished
        case _:
            return
    if failed.diagnostic:
        _log.error("exception in a worker", reason=failed.failure.reason, exception=failed.diagnostic, **ids)
        failed.ClearField("diagnostic")
