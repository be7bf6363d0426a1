# SPDX-License-Identifier: Apache-2.0
"""Converts errors of a run to failures that workers send: bounded, with a stable reason and a traceback for the log."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import TaskProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.errors import LimitError, RunError
from qonduit_server.process.redaction import Redaction

NO_SECRET: Final = Redaction("")
#: Longer messages are truncated: the server stores them with the job and sends them with its last event.
_MESSAGE_CHARACTERS: Final = 2000
#: Longer tracebacks lose their beginning.
_DIAGNOSTIC_BYTES: Final = 8 * 1024
#: The number of causes that a traceback shows.
_CAUSES: Final = 8
#: Words that may come from a program; shorter ones reveal little.
_WORD: Final = re.compile(r"\w{5,}")


def failure_of(error: BaseException, redaction: Redaction = NO_SECRET) -> Failure:
    """Return the failure for an error: its category, a stable reason, and a message with the cause and the remedy.

    Args:
        error: the error.
        redaction: removes the credential of the task, before a text is truncated.
    """
    if isinstance(error, RunError):
        return Failure(
            category=f"FAILURE_CATEGORY_{error.category}",
            reason=error.reason,
            message=redaction.text(error.message)[:_MESSAGE_CHARACTERS],
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
        message=redaction.text(f"{type(error).__name__}: {error}")[:_MESSAGE_CHARACTERS],
    )


def traceback_of(error: BaseException, programs: Collection[TaskProgram] = (), redaction: Redaction = NO_SECRET) -> str:
    """Return the end of an error's traceback with its causes, at most 8 KiB: the end names the raised exception.

    Args:
        error: the error.
        programs: those of the task; their words are left out of the messages, which may quote them.
        redaction: removes the credential of the task.
    """
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and len(chain) < _CAUSES:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    sources = [program.text or program.binary.decode("latin-1") for program in programs]
    described = "\n".join(_described(each, sources) for each in reversed(chain))
    data = redaction.text(described).encode(errors="replace")
    if len(data) > _DIAGNOSTIC_BYTES:
        data = b"..." + data[3 - _DIAGNOSTIC_BYTES :]
    return data.decode(errors="ignore")


def _described(error: BaseException, sources: Sequence[str]) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = "".join(traceback.format_tb(error.__traceback__))
    lowered = [source.lower() for source in sources]

    def word(match: re.Match[str]) -> str:
        return "[...]" if any(match[0].lower() in source for source in lowered) else match[0]

    message = _WORD.sub(word, str(error)[:_DIAGNOSTIC_BYTES])
    return f"Traceback (most recent call last):\n{frames}{name}{': ' if message else ''}{message}\n"
