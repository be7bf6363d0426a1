# SPDX-License-Identifier: Apache-2.0
"""Benchmark a variational loop, one call to a server a step, against the SDKs' own primitives in one process.

`python -m tests.benchmarks.variational vqe ROUNDS` prints lines of JSON for `tests.benchmarks.__main__`. A step
computes the energy and its gradient, and goes down the gradient.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qonduit_client import Client
from tests.server_process import serving

STEPS = 50
_RATE = 0.05
#: The hydrogen molecule at 0.735 Angstrom in the basis STO-3G, by the transformation of Jordan and Wigner.
_H2 = {
    "": -0.8105479805, "Z0": 0.1721839326, "Z1": -0.2257534922, "Z2": 0.1721839326, "Z3": -0.2257534922,
    "Z0*Z1": 0.1209126326, "Z0*Z2": 0.1689275387, "Z0*Z3": 0.1661454325, "Z1*Z2": 0.1661454325,
    "Z1*Z3": 0.1746434306, "Z2*Z3": 0.1209126326,
    "X0*X1*X2*X3": 0.0452327999, "X0*X1*Y2*Y3": 0.0452327999, "Y0*Y1*X2*X3": 0.0452327999, "Y0*Y1*Y2*Y3": 0.0452327999,
}  # fmt: skip
#: Energies and gradients of single-precision simulators differ in the seventh digit.
_TOLERANCE = 1e-4

#: From parameters to the energy and its gradient.
Evaluate = Callable[[Any], tuple[float, Any]]


def ising(qubits: int) -> dict[str, float]:
    """Return the transverse Ising chain with open ends at its critical point."""
    bonds = {f"Z{qubit}*Z{qubit + 1}": -1.0 for qubit in range(qubits - 1)}
    return bonds | {f"X{qubit}": -1.0 for qubit in range(qubits)}


#: A problem: its qubits, its layers of turns, and its Hamiltonian.
_PROBLEMS = {"H2, 4 qubits": (4, 2, _H2), "Ising chain, 12 qubits": (12, 2, ising(12))}


def _gates(qubits: int, layers: int) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield layers of turns around Y and Z, and of CX gates between neighbours: name, qubits, parameter."""
    for layer in range(layers):
        for place, name in enumerate(("ry", "rz")):
            yield from ((name, (qubit,), (2 * layer + place) * qubits + qubit) for qubit in range(qubits))
        yield from (("cx", (qubit, qubit + 1), -1) for qubit in range(qubits - 1))


def _factors(product: str) -> list[tuple[str, int]]:
    return [(factor[0], int(factor[1:])) for factor in product.split("*") if factor]


def _shifted(values: Any) -> Any:
    """Return the points of a gradient by parameter shift, the point itself first."""
    turns = np.pi / 2 * np.eye(len(values))
    return np.vstack([values[None], values + turns, values - turns])


def _unshifted(energies: Any) -> tuple[float, Any]:
    plus, minus = np.split(energies[1:], 2)
    return float(energies[0]), (plus - minus) / 2


def ours(client: Client, qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by a server."""
    number = 2 * layers * qubits
    lines = [f'OPENQASM 3.0; include "stdgates.inc"; input array[float, {number}] x; qubit[{qubits}] q;']
    for name, places, parameter in _gates(qubits, layers):
        angle = f"(x[{parameter}])" if parameter >= 0 else ""
        lines.append(f"{name}{angle} {', '.join(f'q[{place}]' for place in places)};")
    program = "\n".join(lines)

    def evaluate(values: Any) -> tuple[float, Any]:
        found = client.estimate(program, terms, exact=True, gradient=True, parameter_values={"x": values[None]})
        assert found.gradients is not None
        return float(found.values[0, 0]), found.gradients[0, 0]

    return evaluate


def qiskit_aer(qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by Aer's estimator and parameter shift, with all points in one call."""
    from qiskit_aer.primitives import EstimatorV2

    return _qiskit(EstimatorV2(options={"default_precision": 0.0}), qubits, layers, terms)


def qiskit_statevector(qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by Qiskit's exact estimator and parameter shift, with all points in one call."""
    from qiskit.primitives import StatevectorEstimator

    return _qiskit(StatevectorEstimator(), qubits, layers, terms)


def _qiskit(estimator: Any, qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp

    circuit, vector = QuantumCircuit(qubits), ParameterVector("x", 2 * layers * qubits)
    for name, places, parameter in _gates(qubits, layers):
        getattr(circuit, name)(*([vector[parameter]] if parameter >= 0 else []), *places)
    products = ((_factors(product), weight) for product, weight in terms.items())
    sparse = [("".join(p for p, _ in own), [qubit for _, qubit in own], weight) for own, weight in products]
    observable = SparsePauliOp.from_sparse_list(sparse, qubits)

    def evaluate(values: Any) -> tuple[float, Any]:
        return _unshifted(estimator.run([(circuit, observable, _shifted(values))]).result()[0].data.evs)

    return evaluate


def cirq(qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by Cirq's exact values of a sweep and parameter shift."""
    import cirq as sdk
    import sympy

    line = sdk.LineQubit.range(qubits)
    circuit = sdk.Circuit()
    for name, places, parameter in _gates(qubits, layers):
        gate = sdk.CNOT if name == "cx" else getattr(sdk, name)(sympy.Symbol(f"x{parameter}"))
        circuit.append(gate.on(*(line[place] for place in places)))
    observable = sdk.PauliSum()
    for product, weight in terms.items():
        observable += sdk.PauliString(
            {line[qubit]: getattr(sdk, p) for p, qubit in _factors(product)}, coefficient=weight
        )
    simulator = sdk.Simulator()

    def evaluate(values: Any) -> tuple[float, Any]:
        points = [{f"x{place}": value for place, value in enumerate(row)} for row in _shifted(values).tolist()]
        found = simulator.simulate_expectation_values_sweep(circuit, observable, points)
        return _unshifted(np.real(np.array(found)[:, 0]))

    return evaluate


def lightning(qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by PennyLane's fastest simulator and its adjoint differentiation."""
    return _pennylane("lightning.qubit", qubits, layers, terms)


def default_qubit(qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    """Return the evaluation by PennyLane's default simulator and its adjoint differentiation."""
    return _pennylane("default.qubit", qubits, layers, terms)


def _pennylane(device: str, qubits: int, layers: int, terms: dict[str, float]) -> Evaluate:
    import pennylane as qml

    products = [
        qml.prod(*(getattr(qml, p)(qubit) for p, qubit in _factors(product))) if product else qml.I(0)
        for product in terms
    ]
    observable = qml.Hamiltonian(list(terms.values()), products)

    @qml.qnode(qml.device(device, wires=qubits), diff_method="adjoint")
    def energy(x: Any) -> Any:
        for name, places, parameter in _gates(qubits, layers):
            if parameter >= 0:
                getattr(qml, name.upper())(x[parameter], places)
            else:
                qml.CNOT(places)
        return qml.expval(observable)

    gradient = qml.grad(energy)

    def evaluate(values: Any) -> tuple[float, Any]:
        found = gradient(qml.numpy.array(values, requires_grad=True))
        return float(gradient.forward), np.asarray(found)

    return evaluate


#: Reference: its name, and its steps in a round for 4 and for 12 qubits: the slow ones take fewer.
_REFERENCES: dict[Callable[..., Evaluate], tuple[str, int, int]] = {
    lightning: ("PennyLane, lightning.qubit, adjoint", STEPS, STEPS),
    default_qubit: ("PennyLane, default.qubit, adjoint", STEPS, 2),
    qiskit_aer: ("Qiskit, Aer EstimatorV2, parameter shift", STEPS, 10),
    qiskit_statevector: ("Qiskit, StatevectorEstimator, parameter shift", STEPS, 5),
    cirq: ("Cirq, expectation values of a sweep, parameter shift", 5, 3),
}


def _descend(evaluate: Evaluate, start: Any, steps: int) -> tuple[float, float, list[float]]:
    """Return the wall and CPU seconds of a step in this process, and the energies."""
    values, energies = start, []
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        energy, gradient = evaluate(values)
        energies.append(energy)
        values = values - _RATE * gradient
    return (time.perf_counter() - begun) / steps, (time.process_time() - cpu) / steps, energies


def measure(rounds: int) -> Iterator[dict[str, object]]:
    """Yield the seconds of a step for each problem and each reference; all alternate."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(f"sqlite:///{folder}/variational.sqlite3", preload="IBM") as server,
        Client(server.target) as client,
    ):
        for what, (qubits, layers, terms) in _PROBLEMS.items():
            start = np.random.default_rng(7).uniform(-0.5, 0.5, 2 * layers * qubits)
            mine = ours(client, qubits, layers, terms)
            references = {each: each(qubits, layers, terms) for each in _REFERENCES}
            for evaluate in (mine, *references.values()):
                evaluate(start)
            walls: dict[object, list[float]] = {each: [] for each in (ours, *references)}
            cpus: dict[object, list[float]] = {each: [] for each in (ours, *references)}
            for _ in range(rounds):
                for each, evaluate in references.items():
                    wall, cpu, energies = _descend(evaluate, start, _REFERENCES[each][1 if qubits == 4 else 2])
                    walls[each].append(wall)
                    cpus[each].append(cpu)
                    if each is lightning:
                        expected = energies
                before = server.cpu()
                wall, cpu, energies = _descend(mine, start, STEPS)
                walls[ours].append(wall)
                cpus[ours].append(cpu + (server.cpu() - before) / STEPS)
                if not np.allclose(energies, expected, rtol=0, atol=_TOLERANCE):
                    raise RuntimeError(f"{what}: energies {energies[-1]} and {expected[-1]} differ")
            for each, (name, *_) in _REFERENCES.items():
                goal = "<= 1.2" if qubits == 12 else ""
                for suffix, found in (("", walls), (", CPU of all processes", cpus)):
                    if suffix and each is not lightning:
                        continue
                    yield {
                        "what": f"VQE, {what}, {2 * layers * qubits} parameters, a step with gradient{suffix}",
                        "reference": name,
                        "ours": found[ours],
                        "theirs": found[each],
                        "goal": "" if suffix else goal,
                        "unit": "ms",
                    }


if __name__ == "__main__":
    for line in measure(int(sys.argv[2])):
        print(json.dumps(line), flush=True)
