# SPDX-License-Identifier: Apache-2.0
"""Submit, wait for and cancel circuits, with errors as Cirq's samplers raise them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qonduit.v1.failure_pb2 import FailureCategory
from qonduit_client.batch import Batch, derived_seed, submit
from qonduit_client.cirq.records import records_of
from qonduit_client.errors import (
    InvalidRequest,
    JobFailed,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    TimedOut,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.cirq.circuit_serialization import Prepared
    from qonduit_client.client import Client
    from qonduit_client.simulation_options import Simulation

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
    """Programs that run together: as few jobs as limits allow, separate for each number of repetitions.

    Args:
        client: the connection.
        device: "PROVIDER/device".
        seed: the seed of all programs.
        timeout: seconds for all programs together.
        simulation: options of the simulation, as of `Client.run`.
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
        self._seed = seed
        self._timeout = timeout
        self._simulation = simulation
        self._batches: list[Batch] = []
        self._cancelled = False
        self._lock = threading.Lock()

    def records(self, wanted: Sequence[Shots]) -> list[dict[str, NDArray[Any]]]:
        """Run all programs and return their measurements, in order.

        Raises:
            ValueError: a program, the device's name or another argument is invalid.
            RuntimeError: the job failed otherwise, or was cancelled.
            TimedOut: the timeout expired; the jobs are cancelled.
            QonduitError: the server is unreachable, or reported an internal error.
        """
        groups: dict[int, list[int]] = {}
        for place, each in enumerate(wanted):
            groups.setdefault(each.repetitions, []).append(place)
        found: dict[int, dict[str, NDArray[Any]]] = {}
        try:
            with _as_cirq_errors():
                for shots, places in groups.items():
                    self._submit([wanted[place].prepared for place in places], shots)
                deadline = None if self._timeout is None else time.monotonic() + self._timeout
                for batch, places in zip(self._batches, groups.values(), strict=True):
                    left = None if deadline is None else max(0.0, deadline - time.monotonic())
                    for place, result in zip(places, batch.results(left), strict=True):
                        seed = None if self._seed is None else derived_seed(self._seed, place)
                        found[place] = records_of(result, wanted[place].prepared, seed)
        except BaseException:
            self.cancel()
            raise
        return [found[place] for place in range(len(wanted))]

    def _submit(self, programs: Sequence[Prepared], shots: int) -> None:
        seed = None if self._seed is None else derived_seed(self._seed, len(self._batches))
        batch = submit(
            self._client,
            [each.program for each in programs],
            device=self._device,
            shots=shots,
            seed=seed,
            simulation=self._simulation,
        )
        with self._lock:
            self._batches.append(batch)
            late = self._cancelled
        if late:
            batch.cancel()

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


@contextmanager
def _as_cirq_errors() -> Iterator[None]:
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
    except _CALLER as error:
        raise ValueError(str(error)) from error
