# SPDX-License-Identifier: Apache-2.0
"""What Qiskit's users catch, in the place of the client's errors, which stay chained to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qiskit.exceptions import QiskitError
from qiskit.providers import JobError, JobTimeoutError

from qonduit_client.errors import JobCancelled, JobFailed, QonduitError, TimedOut


class JobTimedOut(JobTimeoutError, TimeoutError):  # type: ignore[misc]
    """The job had not ended in time, and goes on; a `TimeoutError` too, as Aer's jobs raise."""


@contextmanager
def as_qiskit_has_it() -> Iterator[None]:
    """Raise Qiskit's errors for the client's.

    Raises:
        JobTimedOut: it took longer than it was given.
        JobError: a job failed or was cancelled.
        QiskitError: anything else that the client or the server refused.
    """
    try:
        yield
    except TimedOut as error:
        raise JobTimedOut(error.message) from error
    except (JobFailed, JobCancelled) as error:
        said = f"{error.reason}: {error.message}" if error.reason and isinstance(error, JobFailed) else error.message
        raise JobError(said) from error
    except QonduitError as error:
        raise QiskitError(error.message) from error
