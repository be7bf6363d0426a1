# SPDX-License-Identifier: Apache-2.0
"""Convert the client's errors to those of Qiskit, chained to the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qiskit.exceptions import QiskitError
from qiskit.providers import JobError, JobTimeoutError

from qonduit_client.errors import JobCancelled, JobFailed, QonduitError, TimedOut


class JobTimedOut(JobTimeoutError, TimeoutError):  # type: ignore[misc]
    """The job has not ended in time; it continues. Also a `TimeoutError`, as in Aer."""


@contextmanager
def as_qiskit_has_it() -> Iterator[None]:
    """Convert client errors to Qiskit's.

    Raises:
        JobTimedOut: the timeout expired.
        JobError: a job failed or was cancelled.
        QiskitError: any other error of the client or the server.
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
