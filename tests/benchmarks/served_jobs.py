# SPDX-License-Identifier: Apache-2.0
"""Benchmark sweeps and large observables end to end on a server, against Qiskit's in the process of the client.

`python -m tests.benchmarks.served_jobs sweeps|terms ROUNDS` prints lines of JSON for `tests.benchmarks.__main__`.
Sweeps have the seconds of one point; observables have terms a second.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qonduit.v1.estimator_pb2 import Observable
from qonduit_client import Client
from qonduit_server.estimation.grouping import grouping
from qonduit_server.pauli_sums import PauliSum
from tests.benchmarks import sweeps
from tests.server_process import serving

_QUBITS, _PARAMETERS = 4, 16
_POINTS = (100, 1000, 10_000)
#: Points of a call of the reference: its time a point does not fall any more.
_MOST_POINTS = 1000
_WIDE = 20
_TERMS = (3000, 10_000)
#: Terms of the reference, and of sampled observables: more take minutes.
_FEW_TERMS = 1000
_SAMPLED_TERMS = 300
_SHOTS = 100


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise RuntimeError(f"{found} of {expected} {what} have results")


def swept(client: Client, rounds: int) -> Iterator[dict[str, object]]:
    """Yield the times of RUNNER and ESTIMATOR jobs with many points; the server and the SDK alternate."""
    program = sweeps.program_text(_QUBITS, _PARAMETERS)
    names = [f"x[{place}]" for place in range(_PARAMETERS)]
    terms = {f"Z{qubit}*Z{qubit + 1}": 1.0 for qubit in range(_QUBITS - 1)}
    for points in _POINTS:
        few = min(points, _MOST_POINTS)
        values = (names, sweeps.values_of(points, _PARAMETERS))

        def run(values: Any = values, points: int = points) -> None:
            job = client.run(program, shots=sweeps.SHOTS, parameter_values=values)
            _expect(len(job.results()), points, "points")

        def estimate(values: Any = values, points: int = points) -> None:
            found = client.estimate(program, terms, exact=True, parameter_values=values)
            _expect(len(found.values), points, "points")

        works = {
            "RUNNER, 1,000 shots": (run, sweeps.qiskit(_QUBITS, _PARAMETERS, few), "Aer's batch"),
            "ESTIMATOR, exact, one observable": (estimate, _aer_estimates(few), "Aer's EstimatorV2, exact"),
        }
        for name, (ours, theirs, reference) in works.items():
            ours()
            seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
            for _ in range(rounds if points < max(_POINTS) else 1):
                seconds["theirs"].append(_seconds(theirs) / few)
                seconds["ours"].append(_seconds(ours) / points)
            yield {
                "what": f"sweep end to end, a point of {points:,}, {_QUBITS} qubits, {name}",
                "reference": reference if few == points else f"{reference} of {few:,} points",
                "unit": "us",
                "goal": "",
                **seconds,
            }


def _aer_estimates(points: int) -> Callable[[], object]:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer.primitives import EstimatorV2

    circuit, vector = QuantumCircuit(_QUBITS), ParameterVector("x", _PARAMETERS)
    for name, places, parameter in sweeps.ansatz(_QUBITS, _PARAMETERS):
        getattr(circuit, name)(*([vector[parameter]] if parameter >= 0 else []), *places)
    terms = [("ZZ", [qubit, qubit + 1], 1.0) for qubit in range(_QUBITS - 1)]
    pub = (circuit, SparsePauliOp.from_sparse_list(terms, _QUBITS), sweeps.values_of(points, _PARAMETERS))
    estimator = EstimatorV2(options={"default_precision": 0.0})
    return lambda: estimator.run([pub]).result()[0].data.evs


def molecular(number: int) -> list[tuple[float, int, int]]:
    """Return terms with the shape of those of a molecule: weight, x mask and z mask.

    By the transformation of Jordan and Wigner: Z and ZZ, then XZ..ZX and YZ..ZY of pairs, then eight products of X and
    Y on each of many sets of four qubits, with Z between the first and the second, and the third and the fourth.
    """
    masks = [(0, 1 << q) for q in range(_WIDE)]
    masks += [(0, 1 << a | 1 << b) for a, b in itertools.combinations(range(_WIDE), 2)]
    for a, b in itertools.combinations(range(_WIDE), 2):
        between, ends = (1 << b) - (2 << a), 1 << a | 1 << b
        masks += [(ends, between), (ends, between | ends)]
    fours = list(itertools.combinations(range(_WIDE), 4))
    random = np.random.default_rng(7)
    for place in random.permutation(len(fours)):
        a, b, c, d = fours[place]
        between, ends = (1 << b) - (2 << a) | (1 << d) - (2 << c), 1 << a | 1 << b | 1 << c | 1 << d
        for size in (0, 2, 4):
            masks += [(ends, between | sum(1 << q for q in own)) for own in itertools.combinations((a, b, c, d), size)]
    weights = random.normal(size=number).tolist()
    return [(weight, x, z) for weight, (x, z) in zip(weights, masks, strict=False)]


def _label(x: int, z: int) -> str:
    return "".join("IXZY"[(x >> q & 1) + 2 * (z >> q & 1)] for q in reversed(range(_WIDE)))


def _message(terms: list[tuple[float, int, int]]) -> Observable:
    size = (_WIDE + 7) // 8
    message = Observable()
    message.terms.num_qubits = _WIDE
    message.terms.coefficients.extend(weight for weight, _, _ in terms)
    message.terms.x_masks = b"".join(x.to_bytes(size, "big") for _, x, _ in terms)
    message.terms.z_masks = b"".join(z.to_bytes(size, "big") for _, _, z in terms)
    return message


def _wide(gates: Any) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(_WIDE)
    for (name, places, parameter), angle in zip(gates, sweeps.values_of(1, 1000)[0], strict=False):
        getattr(circuit, name)(*([angle] if parameter >= 0 else []), *places)
    return circuit


def estimated(client: Client) -> Iterator[dict[str, object]]:
    """Yield the speeds of observables with thousands of terms: grouping, exact values, sampled values; one round."""
    from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator

    circuit = _wide(sweeps.ansatz(_WIDE, 2 * _WIDE))
    terms = molecular(max(_TERMS))
    few = SparsePauliOp([_label(x, z) for _, x, z in terms[:_FEW_TERMS]], [w for w, _, _ in terms[:_FEW_TERMS]])
    shape = f"{_WIDE} qubits"

    def line(
        what: str, reference: str, ours: float, theirs: float, number: int, few: int = _FEW_TERMS
    ) -> dict[str, object]:
        return {
            "what": f"estimator, {shape}, {what}",
            "reference": f"{reference} of {few:,} terms",
            "unit": "terms/s",
            "goal": ">= 1.0",
            "ours": [number / ours],
            "theirs": [few / theirs],
        }

    theirs = _seconds(lambda: few.group_commuting(qubit_wise=True))
    for number in _TERMS:
        own = terms[:number]
        known = PauliSum(*zip(*own, strict=True))
        ours = _seconds(lambda known=known: grouping([known]))
        yield line(f"grouping of {number:,} terms in this process", "group_commuting", ours, theirs, number)

    exact: list[float] = []
    theirs = _seconds(lambda: exact.append(float(StatevectorEstimator().run([(circuit, few)]).result()[0].data.evs)))
    found = client.estimate(circuit, [_message(terms[:_FEW_TERMS])], exact=True)
    if abs(found.values[0] - exact[0]) > 1e-8:
        raise RuntimeError(f"values {found.values[0]} and {exact[0]} differ")
    for number in _TERMS:
        message = _message(terms[:number])
        ours = _seconds(lambda message=message: client.estimate(circuit, [message], exact=True))
        yield line(f"exact value of {number:,} terms, end to end", "StatevectorEstimator", ours, theirs, number)

    sampled = few[:_SAMPLED_TERMS]
    backend = BackendEstimatorV2(
        backend=AerSimulator(method="statevector"), options={"default_precision": _SHOTS**-0.5}
    )
    theirs = _seconds(lambda: backend.run([(circuit, sampled)]).result()[0].data.evs)
    message = _message(terms[:_SAMPLED_TERMS])
    ours = _seconds(lambda: client.estimate(circuit, [message], shots=_SHOTS, seed=1))
    what = f"{_SAMPLED_TERMS} terms by {_SHOTS} shots a group, end to end"
    yield line(what, "BackendEstimatorV2 on Aer", ours, theirs, _SAMPLED_TERMS, _SAMPLED_TERMS)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(f"sqlite:///{folder}/jobs.sqlite3", preload="IBM") as server,
        Client(server.target) as client,
    ):
        for each in swept(client, int(sys.argv[2])) if sys.argv[1] == "sweeps" else estimated(client):
            print(json.dumps(each), flush=True)
