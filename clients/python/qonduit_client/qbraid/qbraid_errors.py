# SPDX-License-Identifier: Apache-2.0
"""Convert the client's errors to those of the qBraid runtime, chained to the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qbraid.runtime import JobStateError, ProgramValidationError, QbraidRuntimeError, ResourceNotFoundError

from qonduit_client.errors import (
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    TimedOut,
)


class QonduitJobError(QbraidRuntimeError):  # type: ignore[misc]
    """A job failed; the message contains the reason, and `__cause__` is the client's error."""


@contextmanager
def as_qbraid_has_it() -> Iterator[None]:
    """Raise the errors of qBraid's runtime for the client's; a timeout stays a TimeoutError."""
    try:
        yield
    except TimedOut:
        raise
    except JobFailed as error:
        raise QonduitJobError(f"job {error.job.id} failed: {error.message} ({error.reason})") from error
    except JobCancelled as error:
        raise JobStateError(str(error)) from error
    except NotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except (InvalidRequest, PreconditionFailed, ProgramUnreadable) as error:
        raise ProgramValidationError(str(error)) from error
    except QonduitError as error:
        raise QbraidRuntimeError(str(error)) from error
