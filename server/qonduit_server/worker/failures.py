# SPDX-License-Identifier: Apache-2.0
"""Converts errors of a run to failures that workers send: bounded, with a stable reason and a traceback for the log."""

from __future__ import annotations

import traceback
from typing import Final

from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.errors import LimitError, RunError

#: Longer messages are truncated: the server stores them with the job and sends them with its last event.
_MESSAGE_CHARACTERS: Final = 2000
#: Longer tracebacks lose their beginning.
_DIAGNOSTIC_BYTES: Final = 8 * 1024


def failure_of(error: BaseException) -> Failure:
    """Return the failure for an error: its category, a stable reason, and a message with the cause and the remedy."""
    if isinstance(error, RunError):
        return Failure(
            category=f"FAILURE_CATEGORY_{error.category}",
            reason=error.reason,
            message=error.message[:_MESSAGE_CHARACTERS],
            retryable=error.retryable,
            provider_code=error.provider_code,
            line=error.line,
            column=error.column,
        )
    if isinstance(error, MemoryError):
        return failure_of(
            LimitError("MEMORY_LIMIT", "the run needed more memory than one task may use: use fewer qubits or shots")
        )
    if isinstance(error, RecursionError):
        return failure_of(LimitError("TOO_LARGE", "the program is nested too deep: build fewer gates of others"))
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_INTERNAL,
        reason="INTERNAL",
        message=f"{type(error).__name__}: {error}"[:_MESSAGE_CHARACTERS],
    )


def traceback_of(error: BaseException) -> str:
    """Return the end of an error's traceback with its causes, at most 8 KiB: the end names the raised exception."""
    data = "".join(traceback.format_exception(error)).encode(errors="replace")
    if len(data) > _DIAGNOSTIC_BYTES:
        data = b"..." + data[3 - _DIAGNOSTIC_BYTES :]
    return data.decode(errors="ignore")
