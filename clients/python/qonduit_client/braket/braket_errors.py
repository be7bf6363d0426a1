# SPDX-License-Identifier: Apache-2.0
"""What Braket's users catch, in the place of the client's errors, which stay chained to it."""

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
    """The task had not ended in time, and goes on."""


@contextmanager
def as_braket_has_it() -> Iterator[None]:
    """Raise what Braket's local simulator raises where it can, with the server's reason.

    Raises:
        TaskTimedOut: it took longer than it was given.
        ValueError: what was asked for is at fault.
        RuntimeError: the task failed or was cancelled, or the server is not there or refused otherwise.
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
