# SPDX-License-Identifier: Apache-2.0
"""The Qonduit client: submit quantum programs, follow them live, read results in one form.

    from qonduit_client import Client

    with Client("127.0.0.1:50051") as client:
        job = client.run('OPENQASM 2.0; include "qelib1.inc"; ...', device="IBM/aer_simulator", shots=1000)
        for event in job.events():
            print(event)
        print(job.result().counts)

`qonduit_client.aio` is the asyncio client. Names are loaded on first use, so that importing this package
is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qonduit_client.client import Client
    from qonduit_client.errors import (
        AlreadyExists,
        ClientClosed,
        ConfigInvalid,
        InvalidRequest,
        JobCancelled,
        JobFailed,
        LimitExceeded,
        LoginFailed,
        LoginRequired,
        NotFound,
        PreconditionFailed,
        ProgramUnreadable,
        QonduitError,
        Refused,
        ServerFault,
        ServerUnavailable,
        TimedOut,
        Violation,
    )
    from qonduit_client.estimates import Estimate
    from qonduit_client.job import JobHandle
    from qonduit_client.job_filters import MatchingJobs
    from qonduit_client.result import Result
    from qonduit_client.retry import Retry
    from qonduit_client.samples import Sample
    from qonduit_client.translation import Translation

__all__ = [
    "AlreadyExists",
    "Client",
    "ClientClosed",
    "ConfigInvalid",
    "Estimate",
    "InvalidRequest",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "LimitExceeded",
    "LoginFailed",
    "LoginRequired",
    "MatchingJobs",
    "NotFound",
    "PreconditionFailed",
    "ProgramUnreadable",
    "QonduitError",
    "Refused",
    "Result",
    "Retry",
    "Sample",
    "ServerFault",
    "ServerUnavailable",
    "TimedOut",
    "Translation",
    "Violation",
]

_HOME = {
    "Client": "client",
    "Estimate": "estimates",
    "JobHandle": "job",
    "MatchingJobs": "job_filters",
    "Result": "result",
    "Retry": "retry",
    "Sample": "samples",
    "Translation": "translation",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
