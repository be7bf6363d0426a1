# SPDX-License-Identifier: Apache-2.0
"""Qiskit's estimator on a device of a server: measures observables in groups, or computes them exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from qiskit.primitives import BackendEstimatorV2, DataBin, EstimatorPubLike, PubResult
from qiskit.primitives.backend_estimator_v2 import Options
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import SparsePauliOp, Statevector

from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.circuit_preparation import programs_of, rows_of
from qonduit_client.qiskit.mode import backend_of, options_of, seed_of
from qonduit_client.qiskit.primitive_job import Part, QonduitPrimitiveJob
from qonduit_client.result import Result


class EstimatorV2(BackendEstimatorV2):  # type: ignore[misc]
    """Estimates expectation values, as Qiskit's `BackendEstimatorV2`, or computes them exactly.

    Exact values come from the device's statevector: circuits must not go on after they have measured, and their states
    must fit into a result (22 qubits by default). A noise model, a method and other options of the simulation are
    those of the backend: `QonduitBackend(device, noise_model=...)`.

    Args:
        mode: a `QonduitBackend`, or the name of a device.
        backend: the same, under the name that Qiskit's `BackendEstimatorV2` has for it.
        default_precision: for pubs that do not say theirs; 1/64 (4096 shots) unless given.
        seed: fixes the randomness of simulators, for all pubs of a run together; a number, or a generator of one.
        exact: takes precision 0 for exact values, and for the default precision unless another one is given. A default
            precision of 0 says the same. Else precision 0 is an error, as it is for Qiskit's `BackendEstimatorV2`.
        options: the same things as Qiskit's `BackendEstimatorV2` takes them: a dictionary with `default_precision`,
            `abelian_grouping` and `seed_simulator`.
    """

    def __init__(
        self,
        mode: QonduitBackend | str | None = None,
        *,
        backend: QonduitBackend | str | None = None,
        default_precision: float | None = None,
        seed: int | np.random.Generator | None = None,
        exact: bool = False,
        options: Mapping[str, Any] | Options | None = None,
    ) -> None:
        if exact and default_precision is None:
            default_precision = 0.0
        chosen = options_of(Options, options, default_precision=default_precision, seed_simulator=seed_of(seed))
        super().__init__(backend=backend_of(mode, backend), options=asdict(chosen))
        self._exact = exact or chosen.default_precision == 0

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QonduitPrimitiveJob:
        """Submit pubs and return immediately.

        Args:
            pubs: tuples of a circuit, observables, values for its parameters, and a precision.
            precision: of pubs without a precision.

        Raises:
            ValueError, TypeError: a pub is invalid, as in Qiskit, or the device does not support exact values.
            QiskitError: a circuit is not supported, or the server rejected the job.
        """
        default = self._options.default_precision if precision is None else precision
        coerced = [EstimatorPub.coerce(pub, default) for pub in pubs]
        for place, pub in enumerate(coerced):
            if pub.precision == 0 and not self._exact:
                raise ValueError(f"pub {place} has precision 0: use EstimatorV2(backend, exact=True) for exact values")
            if pub.precision == 0 and not self._backend.device.device.capabilities.statevector:
                raise ValueError(f"pub {place} has precision 0, but {self._backend.name} does not support exact values")
        measured = [_Exact(pub) if pub.precision == 0 else _Measured(pub, self) for pub in coerced]
        chosen = self._backend.run_options(seed_simulator=self._options.seed_simulator)
        job = QonduitPrimitiveJob(
            self._backend,
            [each.part(chosen.widest) for each in measured],
            chosen.seed,
            lambda place, results: measured[place].finish(results),
            chosen.arguments,
        )
        job.submit()
        return job


class _Measured:
    """A pub whose observables are measured in qubit-wise commuting groups, with Qiskit's implementation."""

    def __init__(self, pub: EstimatorPub, how: BackendEstimatorV2) -> None:
        self._pub = pub
        self._how = how
        self._data = how._preprocess_pub(pub)
        self._shots = math.ceil(1.0 / pub.precision**2)

    def part(self, widest: int | None) -> Part:
        programs = [program for each in self._data.circuits for program in programs_of(each, [{}], widest)]
        return Part(programs, self._shots)

    def finish(self, results: list[Result]) -> PubResult:
        metadata = [each.metadata for each in self._data.circuits]
        found = self._how._calc_expval_map([_last_register(each) for each in results], metadata)
        return self._how._postprocess_pub(self._pub, found, self._data, self._shots)


class _Exact:
    """A pub whose expectation values come from the circuit's states."""

    def __init__(self, pub: EstimatorPub) -> None:
        self._pub = pub

    def part(self, widest: int | None) -> Part:
        circuit = self._pub.circuit
        return Part(programs_of(circuit, rows_of(circuit, self._pub.parameter_values), widest), 1, statevector=True)

    def finish(self, results: list[Result]) -> PubResult:
        pub = self._pub
        states: Any = np.empty(len(results), dtype=object)
        states[:] = [Statevector(np.asarray(each.statevector)) for each in results]
        state_of, observable_of = np.broadcast_arrays(states.reshape(pub.parameter_values.shape), pub.observables)
        evs = np.zeros(state_of.shape)
        for at in np.ndindex(evs.shape):
            observable = SparsePauliOp.from_list(list(observable_of[at].items()))
            evs[at] = np.real(state_of[at].expectation_value(observable))
        return PubResult(
            DataBin(evs=evs, stds=np.zeros_like(evs), shape=evs.shape),
            metadata={"target_precision": 0.0, "circuit_metadata": pub.circuit.metadata},
        )


def _last_register(result: Result) -> dict[str, int]:
    """Return the counts of the last declared register, which holds the measured observables."""
    counts: Counter[str] = Counter()
    for key, count in result.counts.items():
        counts[f"{int(key.partition(' ')[0], 16):b}"] += count
    return counts
