# SPDX-License-Identifier: Apache-2.0
"""A Cirq sampler that runs circuits on a device of a Qonduit server."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import cirq
import numpy as np

from qonduit_client.cirq.circuit_serialization import Prepared, prepared
from qonduit_client.cirq.cirq_job import QonduitJob, stored_job, stored_jobs
from qonduit_client.cirq.coroutines import awaited
from qonduit_client.cirq.job_submission import Run, Shots
from qonduit_client.cirq.result_layout import CircuitLayout, ResultLayout, layout_data, layout_labels
from qonduit_client.client import Client, connect
from qonduit_client.observables import observables_of

if TYPE_CHECKING:
    import pandas as pd

    from qonduit_client.simulation_options import Simulation

_T = TypeVar("_T")

#: Maximum number of concurrent asynchronous runs of one sampler.
_AT_A_TIME: Final = 16

#: The largest number of rounds for which a server keeps records.
_MOST_ROUNDS: Final = 4096

#: Qubits that a server sorts as Cirq does.
_ORDERED: Final = (cirq.LineQubit, cirq.GridQubit, cirq.NamedQubit)


class _Wanted(NamedTuple):
    """A circuit, its sweeps, and the repetitions per point."""

    circuit: cirq.AbstractCircuit
    sweeps: list[cirq.Sweep]
    repetitions: int


class QonduitSampler(cirq.Sampler):  # type: ignore[misc]
    """Samples circuits on any device of a Qonduit server, with results as those of `cirq.Simulator`.

    The sampler submits all points of a sweep and all circuits of a batch in as few jobs as the server allows. It is
    thread-safe. Its coroutines run under duet, which Cirq uses, and under asyncio, without blocking.

    Args:
        client: the connection, or the server as "HOST:PORT" or by its name; by default that of `qonduit_client.Client`.
        device: "PROVIDER/device".
        seed: a number or a `numpy.random.RandomState`, the seed of all calls on simulators; points of a sweep and
            repeated calls are independent.
        timeout: seconds per call, after which its jobs are cancelled and `TimedOut` is raised. By default unlimited.
        noise: added to all circuits, as by Cirq's simulators; devices with noise run it.
        simulation: options of the simulation, as of `Client.run`.
        max_rounds: the maximum number of measurements of a key that a `CircuitOperation` with `repeat_until` measures,
            in one repetition, up to 4096. A run with more raises `ValueError`.

    Raises:
        ValueError: max_rounds is invalid, the first argument is the name of a device, or the seed is invalid.
    """

    def __init__(
        self,
        client: Client | str | None = None,
        device: str = "GOOGLE/cirq_simulator",
        *,
        seed: cirq.RANDOM_STATE_OR_SEED_LIKE = None,
        timeout: float | None = None,
        noise: cirq.NOISE_MODEL_LIKE = None,
        simulation: Simulation | None = None,
        max_rounds: int = 256,
    ) -> None:
        if not 1 <= operator.index(max_rounds) <= _MOST_ROUNDS:
            raise ValueError(f"max_rounds must be an integer from 1 to {_MOST_ROUNDS}, got {max_rounds}")
        self.max_rounds = max_rounds
        self.noise = cirq.NoiseModel.from_noise_model_like(noise)
        if isinstance(client, str) and "/" in client:
            raise ValueError(f"client must be HOST:PORT, got {client!r}; pass a device as device={client!r}")
        self.client = connect(client)
        self.device = device
        self.timeout = timeout
        self.simulation = simulation
        self._random = None if seed is None else cirq.value.parse_random_state(seed)

    def __repr__(self) -> str:
        return f"<QonduitSampler of {self.device} at {self.client.target}>"

    def run_sweep(
        self, program: cirq.AbstractCircuit, params: cirq.Sweepable, repetitions: int = 1
    ) -> Sequence[cirq.Result]:
        """Sample a circuit at all points of a sweep; see `cirq.Sampler.run_sweep`.

        Raises:
            ValueError: the circuit has no measurements, a point lacks a value of a symbol, or the device does not
                support the circuit; see the message.
            TypeError: an operation is not supported.
            RuntimeError: the job failed for other reasons.
            TimedOut: the timeout expired.
            QonduitError: the server is unreachable, or reported an internal error.
        """
        return self._sampled([_wanted(program, params, repetitions)], self._new())[0]

    def submit(
        self,
        program: cirq.AbstractCircuit,
        params: cirq.Sweepable = None,
        repetitions: int = 1,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> QonduitJob:
        """Submit a circuit at all points of a sweep, and return the job without waiting for it.

        Args:
            program: the circuit.
            params: the points.
            repetitions: of each point, at least 1.
            name: of the job.
            labels: of the job, for your own use.

        Raises:
            ValueError, TypeError, QonduitError: as in `run_sweep`.
        """
        return self._submitted([_wanted(program, params, repetitions)], self._new(), name=name, labels=labels)

    def submit_batch(
        self,
        programs: Sequence[cirq.AbstractCircuit],
        params_list: Sequence[cirq.Sweepable] | None = None,
        repetitions: int | Sequence[int] = 1,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> QonduitJob:
        """Submit circuits, each with its own sweep and repetitions; see `submit` and `run_batch`."""
        wanted = self._batch(programs, params_list, repetitions)
        if not wanted:
            raise ValueError("a job needs at least one circuit, got none")
        return self._submitted(wanted, self._new(), name=name, labels=labels)

    def job(self, job_id: str | int) -> QonduitJob:
        """Return a job that a sampler submitted, in this process or another one, on any device of the server.

        Args:
            job_id: as `job.id()` returned it.

        Raises:
            ValueError: the job does not exist, no sampler submitted it, or it is too large to be opened again.
            QonduitError: the server is unreachable.
        """
        return stored_job(self.client, job_id)

    def jobs(
        self,
        limit: int | None = 10,
        *,
        device: str | None = None,
        status: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
    ) -> list[QonduitJob]:
        """Return jobs that samplers submitted to the server, the latest first.

        Args:
            limit: the maximum number; None: all.
            device: "PROVIDER/device"; by default jobs on all devices.
            status: as `job.status()` returns it.
            name: the name that they were submitted with.
            labels: labels that all of them have.
            project: the project that owns them, "" for none; by default also the jobs of all your projects.

        Raises:
            ValueError: the status is unknown.
            QonduitError: the server is unreachable.
        """
        return stored_jobs(
            self.client, limit, device=device, status=status, name=name, labels=labels or {}, project=project
        )

    async def run_sweep_async(
        self, program: cirq.AbstractCircuit, params: cirq.Sweepable, repetitions: int = 1
    ) -> Sequence[cirq.Result]:
        """Do the same without blocking the event loop. Cancelling the coroutine cancels its jobs."""
        wanted = [_wanted(program, params, repetitions)]
        return (await self._in_thread(lambda run: self._sampled(wanted, run)))[0]

    def run_batch(
        self,
        programs: Sequence[cirq.AbstractCircuit],
        params_list: Sequence[cirq.Sweepable] | None = None,
        repetitions: int | Sequence[int] = 1,
    ) -> Sequence[Sequence[cirq.Result]]:
        """Sample circuits, each with its own sweep and repetitions; see `cirq.Sampler.run_batch`.

        Raises:
            ValueError: the lists have different lengths; other errors as in `run_sweep`.
        """
        return self._sampled(self._batch(programs, params_list, repetitions), self._new())

    async def run_batch_async(
        self,
        programs: Sequence[cirq.AbstractCircuit],
        params_list: Sequence[cirq.Sweepable] | None = None,
        repetitions: int | Sequence[int] = 1,
    ) -> Sequence[Sequence[cirq.Result]]:
        """Do the same without blocking the event loop. Cancelling the coroutine cancels its jobs."""
        wanted = self._batch(programs, params_list, repetitions)
        return await self._in_thread(lambda run: self._sampled(wanted, run))

    def sample(
        self, program: cirq.AbstractCircuit, *, repetitions: int = 1, params: cirq.Sweepable = None
    ) -> pd.DataFrame:
        """Sample a circuit at all points of its sweeps, as a table; see `cirq.Sampler.sample`."""
        sweeps = cirq.to_sweeps(params)
        ready = self.run_sweep(program, sweeps, repetitions)
        return _Ready(ready).sample(program, repetitions=repetitions, params=sweeps)

    def sample_expectation_values(
        self,
        program: cirq.AbstractCircuit,
        observables: cirq.PauliSumLike | list[cirq.PauliSumLike],
        *,
        num_samples: int,
        params: cirq.Sweepable = None,
        permit_terminal_measurements: bool = False,
    ) -> Sequence[Sequence[float]]:
        """Estimate observables at all points of a sweep by one job; see `cirq.Sampler.sample_expectation_values`.

        Each group of terms that commute qubit by qubit is measured `num_samples` times. Cirq itself measures circuits
        with measurements and with a noise model, whose measurements are noisy too.
        """
        sums = [cirq.PauliSum.wrap(each) for each in (observables if isinstance(observables, list) else [observables])]
        if num_samples > 0 and sums and self.can_estimate(program, sums):
            return self._estimated(program, sums, num_samples, params, self._new())
        values: Sequence[Sequence[float]] = super().sample_expectation_values(
            program,
            observables,
            num_samples=num_samples,
            params=params,
            permit_terminal_measurements=permit_terminal_measurements,
        )
        return values

    def can_estimate(self, program: cirq.AbstractCircuit, observables: Sequence[cirq.PauliSum]) -> bool:
        """Return whether `sample_expectation_values` is a job of the type ESTIMATOR: else, Cirq itself measures."""
        real = not any(string.coefficient.imag for each in observables for string in each)
        return real and self.noise == cirq.NO_NOISE and not program.has_measurements()

    async def estimate_async(
        self, program: cirq.AbstractCircuit, observables: Sequence[cirq.PauliSum], num_samples: int
    ) -> list[float]:
        """Estimate observables of which `can_estimate` is true by one job, without blocking the event loop.

        Raises:
            ValueError, RuntimeError, TimedOut, QonduitError: as `run_sweep`.
        """
        found = await self._in_thread(lambda run: self._estimated(program, observables, num_samples, None, run))
        return found[0]

    def _estimated(
        self,
        program: cirq.AbstractCircuit,
        sums: Sequence[cirq.PauliSum],
        num_samples: int,
        params: cirq.Sweepable,
        run: Run,
    ) -> list[list[float]]:
        qubits = sorted(program.all_qubits().union(*(each.qubits for each in sums)))
        if missing := sorted(set(qubits) - program.all_qubits()):
            program = program.unfreeze() + cirq.I.on_each(missing)
        if any(not isinstance(each, _ORDERED) for each in qubits):
            names = {each: cirq.LineQubit(place) for place, each in enumerate(qubits)}
            program, qubits = program.unfreeze().transform_qubits(names), list(names.values())
            sums = [each.with_qubits(*(names[qubit] for qubit in each.qubits)) for each in sums]
        shots = [Shots(each, num_samples) for each in self._prepared(program, params)]
        return run.values(shots, observables_of(sums, qubits))

    def _batch(
        self,
        programs: Sequence[cirq.AbstractCircuit],
        params_list: Sequence[cirq.Sweepable] | None,
        repetitions: int | Sequence[int],
    ) -> list[_Wanted]:
        sweeps, shots = self._normalize_batch_args(programs, params_list, repetitions)
        return [_wanted(*each) for each in zip(programs, sweeps, shots, strict=True)]

    def _new(self) -> Run:
        seed = None if self._random is None else int(self._random.randint(2**31))
        return Run(self.client, self.device, seed, self.timeout, self.simulation)

    def _submitted(
        self, wanted: Sequence[_Wanted], run: Run, *, name: str | None = None, labels: Mapping[str, str] | None = None
    ) -> QonduitJob:
        if any(each.repetitions == 0 for each in wanted):
            raise ValueError("repetitions of a submitted circuit must be at least 1, got 0")
        programs = [self._prepared(self._noisy(each.circuit), each.sweeps) for each in wanted]
        layout = ResultLayout.of(
            [
                CircuitLayout(each.sweeps, each.repetitions, [own.measurements for own in points])
                for each, points in zip(wanted, programs, strict=True)
            ],
            run.seed,
        )
        stored = layout_data(layout, [own for points in programs for own in points])
        shots = [Shots(own, each.repetitions) for each, points in zip(wanted, programs, strict=True) for own in points]
        own = layout_labels(labels or {})
        return QonduitJob(run.submit(shots, name=name, labels=own, client_data=stored), layout)

    def _sampled(self, wanted: Sequence[_Wanted], run: Run) -> list[list[cirq.Result]]:
        job = self._submitted([each for each in wanted if each.repetitions], run)
        found = iter(run.wait(job.batched_results))
        return [
            next(found)
            if repetitions
            else [cirq.ResultDict(params=point, records=_nothing(circuit)) for point in cirq.to_resolvers(sweeps)]
            for circuit, sweeps, repetitions in wanted
        ]

    def _prepared(self, circuit: cirq.AbstractCircuit, params: cirq.Sweepable) -> list[Prepared]:
        return list(prepared(circuit, list(cirq.to_resolvers(params)), self.max_rounds))

    def _noisy(self, circuit: cirq.AbstractCircuit) -> cirq.AbstractCircuit:
        return circuit if self.noise == cirq.NO_NOISE else circuit.unfreeze(copy=False).with_noise(self.noise)

    async def _in_thread(self, call: Callable[[Run], _T]) -> _T:
        run = self._new()
        future = self._threads.submit(call, run)
        try:
            return await awaited(future)
        except BaseException:
            if not future.done():
                threading.Thread(target=run.cancel, daemon=True).start()
            raise

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="qonduit-sampler")


def _wanted(program: cirq.AbstractCircuit, params: cirq.Sweepable, repetitions: int) -> _Wanted:
    if not program.has_measurements():
        raise ValueError("Circuit has no measurements to sample.")  # as Cirq's simulators say it
    shots = operator.index(repetitions)
    if shots < 0:
        raise ValueError(f"repetitions must be at least 0, got {shots}")
    return _Wanted(program, cirq.to_sweeps(params), shots)


def _nothing(circuit: cirq.AbstractCircuit) -> dict[str, np.ndarray[Any, Any]]:
    """Return records without shots, in the shape and type of Cirq 1.7's simulators."""
    found = circuit.findall_operations_with_gate_type(cirq.MeasurementGate)
    return {cirq.measurement_key_name(operation): np.empty([0, 1, 1]) for _, operation, _ in found}


class _Ready(cirq.Sampler):  # type: ignore[misc]
    """Returns existing results to the methods of `cirq.Sampler`."""

    def __init__(self, results: Sequence[cirq.Result]) -> None:
        self._results: Iterator[cirq.Result] = iter(results)

    def run_sweep(
        self, program: cirq.AbstractCircuit, params: cirq.Sweepable, repetitions: int = 1
    ) -> Sequence[cirq.Result]:
        return [next(self._results) for _ in cirq.to_resolvers(params)]
