# SPDX-License-Identifier: Apache-2.0
"""Convert the client's errors to those of the Braket SDK, chained to the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qonduit_client.errors import (
    InvalidRequest,
    JobFailed,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    TimedOut,
)


class TaskTimedOut(TimeoutError, RuntimeError):
    """The task has not ended in time; it continues."""


@contextmanager
def as_braket_has_it() -> Iterator[None]:
    """Convert client errors to the exceptions of Braket's local simulator, with the server's reason.

    Raises:
        TaskTimedOut: the timeout expired.
        ValueError: the request is invalid.
        RuntimeError: the task failed or was cancelled, or the server is unreachable or rejected it otherwise.
    """
    try:
        yield
    except TimedOut as error:
        raise TaskTimedOut(error.message) from error
    except JobFailed as error:
        raise RuntimeError(f"{error.reason}: {error.message}" if error.reason else error.message) from error
    except (InvalidRequest, NotFound, PreconditionFailed, ProgramUnreadable) as error:
        raise ValueError(error.message) from error
    except QonduitError as error:
        raise RuntimeError(error.message) from error
