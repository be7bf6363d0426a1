# SPDX-License-Identifier: Apache-2.0
"""Qiskit's estimator on a device of a server: all pubs are one job of the type ESTIMATOR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from qiskit.primitives import BaseEstimatorV2, EstimatorPubLike
from qiskit.primitives.backend_estimator_v2 import Options
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import PauliList, SparsePauliOp

from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit_client.job_parts import Part
from qonduit_client.observables import observables_of
from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.circuit_preparation import program_for, rows_of, sets_of
from qonduit_client.qiskit.mode import backend_of, options_of, seed_of
from qonduit_client.qiskit.primitive_job import QonduitPrimitiveJob, submitted
from qonduit_client.qiskit.pub_layouts import EstimatorLayout

#: The kind of its jobs.
ESTIMATOR: Final = "qiskit.estimator"


class EstimatorV2(BaseEstimatorV2):  # type: ignore[misc]
    """Estimates expectation values to a precision, or computes them exactly.

    The precision is the standard error of each observable as a whole; Qiskit's `BackendEstimatorV2` measures each term
    to it instead. Measurements at the end of a circuit are ignored. A noise model, a method and other options of the
    simulation are those of the backend: `QonduitBackend(device, noise_model=...)`.

    Args:
        mode: a `QonduitBackend`, or the name of a device.
        backend: the same, under the name that Qiskit's `BackendEstimatorV2` has for it.
        default_precision: for pubs that do not say theirs; 1/64 unless given.
        seed: fixes the randomness of simulators, for all pubs of a run together; a number, or a generator of one.
        exact: takes precision 0 for exact values, and for the default precision unless another one is given. A default
            precision of 0 says the same. Else precision 0 is an error, as it is for Qiskit's `BackendEstimatorV2`.
        max_shots: the maximum for each set of parameter values; by default that of simulators. Other devices need it.
        options: the same things as Qiskit's `BackendEstimatorV2` takes them: a dictionary with `default_precision` and
            `seed_simulator`. The server always groups observables: `abelian_grouping` has no effect.
    """

    def __init__(
        self,
        mode: QonduitBackend | str | None = None,
        *,
        backend: QonduitBackend | str | None = None,
        default_precision: float | None = None,
        seed: int | np.random.Generator | None = None,
        exact: bool = False,
        max_shots: int | None = None,
        options: Mapping[str, Any] | Options | None = None,
    ) -> None:
        if exact and default_precision is None:
            default_precision = 0.0
        self._options = options_of(Options, options, default_precision=default_precision, seed_simulator=seed_of(seed))
        self._backend = backend_of(mode, backend)
        self._exact = exact or self._options.default_precision == 0
        self._max_shots = max_shots

    @property
    def backend(self) -> QonduitBackend:
        """The backend."""
        return self._backend

    @property
    def options(self) -> Options:
        """`default_precision` and `seed_simulator`."""
        return self._options

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QonduitPrimitiveJob:
        """Submit pubs and return immediately.

        Args:
            pubs: tuples of a circuit, observables, values for its parameters, and a precision.
            precision: of pubs without a precision.

        Raises:
            ValueError, TypeError: a pub is invalid, as in Qiskit.
            QiskitError: a circuit is not supported, or the server rejected the job.
        """
        default = self._options.default_precision if precision is None else precision
        coerced = [EstimatorPub.coerce(pub, default) for pub in pubs]
        for place, pub in enumerate(coerced):
            if pub.precision == 0 and not self._exact:
                raise ValueError(f"pub {place} has precision 0: use EstimatorV2(backend, exact=True) for exact values")
        chosen = self._backend.run_options(seed_simulator=self._options.seed_simulator)
        layouts = [EstimatorLayout(pub.parameter_values.shape, pub.observables.shape, pub.precision) for pub in coerced]
        parts = [
            part
            for pub, layout in zip(coerced, layouts, strict=True)
            for part in _parts(pub, layout, chosen.widest, self._max_shots)
        ]
        return submitted(self._backend, ESTIMATOR, [pub.circuit for pub in coerced], layouts, parts, chosen)


def _parts(pub: EstimatorPub, layout: EstimatorLayout, widest: int | None, max_shots: int | None) -> list[Part]:
    """Return a program for each group of points with the same observables."""
    if not layout.groups:
        return []
    sums = [SparsePauliOp.from_list(list(each.items())) for each in np.asarray(pub.observables).reshape(-1)]
    observed = {int(qubit) for each in sums for qubit in np.flatnonzero((each.paulis.x | each.paulis.z).any(axis=0))}
    program, kept = program_for(pub.circuit, widest, observed)
    if len(kept) < pub.circuit.num_qubits:
        sums = [_of_qubits(each, kept) for each in sums]
    observables = observables_of(sums)
    rows = rows_of(pub.circuit, pub.parameter_values)
    exact = pub.precision == 0
    parts = []
    for group in layout.groups:
        estimator = EstimatorOptions(exact=exact, precision=None if exact else pub.precision)
        estimator.observables.extend(observables[place] for place in group.observables)
        sets = sets_of(pub.circuit, rows[group.points])
        shots = 0 if exact or max_shots is None else max_shots
        part = Part(program, shots, estimator=estimator, parameter_sets=sets)
        parts += [part] if sets is not None else [part] * len(group.points)
    return parts


def _of_qubits(observable: SparsePauliOp, qubits: Sequence[int]) -> SparsePauliOp:
    """Return an observable on some of its qubits; it is the identity on the others."""
    paulis = observable.paulis
    return SparsePauliOp(PauliList.from_symplectic(paulis.z[:, qubits], paulis.x[:, qubits]), observable.coeffs)
