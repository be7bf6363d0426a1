# SPDX-License-Identifier: Apache-2.0
"""Submit, wait for and cancel circuits, with errors as Cirq's samplers raise them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.batch import Batch
from qonduit_client.errors import (
    InvalidRequest,
    JobCancelled,
    JobFailed,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    TimedOut,
)
from qonduit_client.estimates import estimate_of
from qonduit_client.job_parts import Part, by_part, submit

if TYPE_CHECKING:
    from qonduit_client.cirq.circuit_serialization import Prepared
    from qonduit_client.client import Client
    from qonduit_client.simulation_options import Simulation

_T = TypeVar("_T")

#: Errors of the caller.
_CALLER: tuple[type[QonduitError], ...] = (
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    LimitExceeded,
    ProgramUnreadable,
)


@dataclass(frozen=True)
class Shots:
    """A program and its number of repetitions."""

    prepared: Prepared
    repetitions: int


class Run:
    """Programs that run together: as few jobs as limits allow. The points of a sweep are one program.

    Args:
        client: the connection.
        device: "PROVIDER/device".
        seed: the seed of all programs.
        timeout: seconds for all programs together.
        simulation: options of the simulation, as of `Client.run`.

    Attributes:
        seed: as passed to the constructor.
    """

    def __init__(
        self,
        client: Client,
        device: str,
        seed: int | None,
        timeout: float | None,
        simulation: Simulation | None = None,
    ) -> None:
        self._client = client
        self._device = device
        self.seed = seed
        self._timeout = timeout
        self._simulation = simulation
        self._batches: list[Batch] = []
        self._cancelled = False
        self._lock = threading.Lock()

    def submit(self, wanted: Sequence[Shots], **options: Any) -> Batch:
        """Submit programs for single shots; one result for each of them, in order.

        Args:
            wanted: the programs.
            options: `name`, `labels` and `client_data` of the jobs.

        Raises:
            ValueError: a program, the device's name or another argument is invalid.
            QonduitError: the server is unreachable, or reported an internal error.
        """
        return self._submit([_part(group) for group in _groups(wanted)], **options)

    def values(self, wanted: Sequence[Shots], observables: Sequence[Observable]) -> list[list[float]]:
        """Estimate observables at the state of each program, with its repetitions for each group of terms.

        Raises:
            ValueError: a program, the device's name or another argument is invalid.
            RuntimeError: the job failed otherwise, or was cancelled.
            TimedOut: the timeout expired; the jobs are cancelled.
            QonduitError: the server is unreachable, or reported an internal error.
        """
        estimator = EstimatorOptions(observables=observables)
        groups = _groups(wanted)
        batch = self._submit([_part(group, estimator) for group in groups])
        results = self.wait(lambda timeout: by_part(batch.results(timeout), [len(group) for group in groups]))
        return [
            [float(value) for value in row]
            for own in results
            for result in own
            for row in estimate_of(result, has_points=True).values
        ]

    def wait(self, read: Callable[[float | None], _T]) -> _T:
        """Return what a function reads within the timeout; cancel all jobs if it raises."""
        try:
            with as_cirq_errors():
                return read(self._timeout)
        except BaseException:
            self.cancel()
            raise

    def _submit(self, parts: Sequence[Part], **options: Any) -> Batch:
        with as_cirq_errors():
            batch = submit(
                self._client, parts, device=self._device, seed=self.seed, simulation=self._simulation, **options
            )
        with self._lock:
            self._batches.append(batch)
            late = self._cancelled
        if late:
            self.cancel()
        return batch

    def cancel(self) -> None:
        """Cancel all jobs; an unreachable server is ignored."""
        with self._lock:
            self._cancelled = True
            batches = list(self._batches)
        for batch in batches:
            try:
                batch.cancel()
            except QonduitError:
                continue


def _groups(wanted: Sequence[Shots]) -> list[list[Shots]]:
    """Return programs in order; neighbours that differ in values only are one group."""
    groups: list[list[Shots]] = []
    for each in wanted:
        first = groups[-1][0] if groups else None
        if (
            first is not None
            and each.prepared.values
            and first.prepared.program is each.prepared.program
            and first.repetitions == each.repetitions
        ):
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _part(group: Sequence[Shots], estimator: EstimatorOptions | None = None) -> Part:
    first = group[0]
    sets = None
    if names := list(first.prepared.values):
        values = [each.prepared.values[name] for each in group for name in names]
        sets = ParameterSets(names=names, values=values)
    sampler = SamplerOptions(per_shot=True) if estimator is None else None
    return Part(first.prepared.program, first.repetitions, estimator=estimator, sampler=sampler, parameter_sets=sets)


@contextmanager
def as_cirq_errors() -> Iterator[None]:
    """Convert client errors to those of Cirq's samplers, chained to the original."""
    try:
        yield
    except TimedOut:
        raise
    except JobFailed as error:
        category = error.failure.category
        ours = (FailureCategory.FAILURE_CATEGORY_PROGRAM, FailureCategory.FAILURE_CATEGORY_DEVICE)
        kind = ValueError if category in ours else RuntimeError
        raise kind(f"job {error.job.id} failed: {error.message} ({error.reason})") from error
    except JobCancelled as error:
        raise RuntimeError(str(error)) from error
    except _CALLER as error:
        raise ValueError(str(error)) from error
