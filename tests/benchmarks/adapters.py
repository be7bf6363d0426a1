# SPDX-License-Identifier: Apache-2.0
"""Benchmark adapters against the SDKs' own local simulators on the same circuits, each SDK in its own process.

`python -m tests.benchmarks.adapters TARGET SDK ROUNDS` prints lines of JSON: the name and the seconds of each round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

SDKS = ("qiskit", "cirq", "braket", "pennylane")
SHOTS = 1000
_WIDTH = 10
_NUMBER = 10
_POINTS = 100

#: A measurement: its name, the work with the SDK's own simulator, and the work with the adapter.
Work = tuple[str, Callable[[], object], Callable[[], object]]


def _angles(number: int) -> Any:
    return np.random.default_rng(7).uniform(0, np.pi, (number, _WIDTH))


def qiskit(target: str) -> Iterator[Work]:
    """Backend.run and the sampler, against Aer."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit_aer import AerSimulator
    from qiskit_aer.primitives import SamplerV2 as AerSampler

    from qonduit_client.qiskit import QonduitProvider, SamplerV2

    def layered(angles: Any) -> QuantumCircuit:
        circuit = QuantumCircuit(_WIDTH)
        for place, angle in enumerate(angles):
            circuit.ry(angle, place)
        for place in range(_WIDTH):
            circuit.cx(place, (place + 1) % _WIDTH)
        circuit.measure_all()
        return circuit

    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    many = [layered(angles) for angles in _angles(_NUMBER)]
    local, ours = AerSimulator(), QonduitProvider(target).get_backend("IBM/aer_simulator")
    for what, circuits in (("Bell", bell), (f"{_NUMBER} circuits of {_WIDTH} qubits", many)):
        yield (
            f"Qiskit, backend.run, {what}",
            lambda c=circuits: local.run(c, shots=SHOTS).result().get_counts(),
            lambda c=circuits: ours.run(c, shots=SHOTS).result().get_counts(),
        )
    sweep = [(layered(ParameterVector("t", _WIDTH)), _angles(_POINTS), SHOTS)]
    theirs, sampler = AerSampler(), SamplerV2(ours)
    yield (
        f"Qiskit, SamplerV2, {_POINTS} parameter sets of {_WIDTH} qubits",
        lambda: theirs.run(sweep).result()[0].data.meas.get_counts(),
        lambda: sampler.run(sweep).result()[0].data.meas.get_counts(),
    )


def cirq(target: str) -> Iterator[Work]:
    """Sampler.run, run_batch and run_sweep, against cirq.Simulator."""
    import cirq as sdk
    import sympy

    from qonduit_client.cirq import QonduitSampler

    qubits = sdk.LineQubit.range(_WIDTH)

    def layered(angles: Any) -> sdk.Circuit:
        turns = [sdk.ry(angle)(qubit) for angle, qubit in zip(angles, qubits, strict=True)]
        ring = [sdk.CNOT(qubit, qubits[(place + 1) % _WIDTH]) for place, qubit in enumerate(qubits)]
        return sdk.Circuit(turns, ring, sdk.measure(*qubits, key="m"))

    bell = sdk.Circuit(sdk.H(qubits[0]), sdk.CNOT(*qubits[:2]), sdk.measure(*qubits[:2], key="m"))
    many = [layered(angles) for angles in _angles(_NUMBER)]
    local, ours = sdk.Simulator(), QonduitSampler(target)
    yield "Cirq, run, Bell", lambda: local.run(bell, repetitions=SHOTS), lambda: ours.run(bell, repetitions=SHOTS)
    yield (
        f"Cirq, run_batch, {_NUMBER} circuits of {_WIDTH} qubits",
        lambda: local.run_batch(many, repetitions=SHOTS),
        lambda: ours.run_batch(many, repetitions=SHOTS),
    )
    symbols = sympy.symbols(f"t:{_WIDTH}")
    free = layered(symbols)
    points = [{str(name): value for name, value in zip(symbols, each, strict=True)} for each in _angles(_POINTS)]
    yield (
        f"Cirq, run_sweep, {_POINTS} points of {_WIDTH} qubits",
        lambda: local.run_sweep(free, points, SHOTS),
        lambda: ours.run_sweep(free, points, SHOTS),
    )


def braket(target: str) -> Iterator[Work]:
    """Device.run and run_batch, against LocalSimulator."""
    from braket.circuits import Circuit
    from braket.devices import LocalSimulator

    from qonduit_client.braket import QonduitDevice

    def layered(angles: Any) -> Circuit:
        circuit = Circuit()
        for place, angle in enumerate(angles):
            circuit.ry(place, angle)
        for place in range(_WIDTH):
            circuit.cnot(place, (place + 1) % _WIDTH)
        return circuit

    bell = Circuit().h(0).cnot(0, 1)
    many = [layered(angles) for angles in _angles(_NUMBER)]
    local, ours = LocalSimulator(), QonduitDevice("AWS/local_simulator", target)
    yield (
        "Braket, run, Bell",
        lambda: local.run(bell, shots=SHOTS).result().measurement_counts,
        lambda: ours.run(bell, shots=SHOTS).result().measurement_counts,
    )
    yield (
        f"Braket, run_batch, {_NUMBER} circuits of {_WIDTH} qubits",
        lambda: local.run_batch(many, shots=SHOTS).results(),
        lambda: ours.run_batch(many, shots=SHOTS).results(),
    )


def pennylane(target: str) -> Iterator[Work]:
    """Tapes and gradients, against default.qubit."""
    import pennylane as qml

    local = qml.device("default.qubit", wires=_WIDTH)
    ours = qml.device("qonduit", wires=_WIDTH, client=target)

    def layered(angles: Any, shots: int | None) -> Any:
        turns = [qml.RY(angle, wire) for wire, angle in enumerate(angles)]
        ring = [qml.CNOT([wire, (wire + 1) % _WIDTH]) for wire in range(_WIDTH)]
        return qml.tape.QuantumScript([*turns, *ring], [qml.expval(qml.PauliZ(0))], shots=shots)

    bell = [qml.tape.QuantumScript([qml.Hadamard(0), qml.CNOT([0, 1])], [qml.counts(wires=[0, 1])], shots=SHOTS)]
    many = [layered(angles, SHOTS) for angles in _angles(_NUMBER)]
    exact = [layered(angles, None) for angles in _angles(_NUMBER)]
    for what, tapes in (
        ("Bell", bell),
        (f"{_NUMBER} tapes of {_WIDTH} qubits", many),
        (f"{_NUMBER} tapes of {_WIDTH} qubits, exact", exact),
    ):
        yield (
            f"PennyLane, {what}",
            lambda tapes=tapes: qml.execute(tapes, local, diff_method=None),
            lambda tapes=tapes: qml.execute(tapes, ours, diff_method=None),
        )

    def gradient(device: Any) -> Callable[[], object]:
        @qml.qnode(device, diff_method="parameter-shift")
        def cost(angles: Any) -> Any:
            for wire in range(_WIDTH):
                qml.RY(angles[wire], wire)
            for wire in range(_WIDTH):
                qml.CNOT([wire, (wire + 1) % _WIDTH])
            return qml.expval(qml.PauliZ(0))

        at = qml.numpy.array(_angles(1)[0], requires_grad=True)
        return lambda: qml.grad(cost)(at)

    yield f"PennyLane, gradient of {_WIDTH} parameters by parameter-shift", gradient(local), gradient(ours)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main(target: str, sdk: str, rounds: int) -> None:
    """Measure one SDK; its own simulator and the adapter alternate."""
    for what, local, ours in globals()[sdk](target):
        local()
        ours()
        times = [(_seconds(local), _seconds(ours)) for _ in range(rounds)]
        print(json.dumps({"what": what, "local": [a for a, _ in times], "ours": [b for _, b in times]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
