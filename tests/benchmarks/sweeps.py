# SPDX-License-Identifier: Apache-2.0
"""Benchmark sweeps in a worker against the SDKs' own batches on the same circuits and values, in one process.

`python -m tests.benchmarks.sweeps SDK ROUNDS` prints lines of JSON: the name and the seconds of each round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

# The setting of the server's workers; see `bare`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.worker.runner import Runner

SHOTS = 1000
#: Qubits, parameters and points.
_SHAPES = {
    "qiskit": ((2, 8, 500), (4, 16, 100), (4, 16, 1000), (4, 16, 10_000), (10, 40, 500)),
    "cirq": ((2, 8, 100), (4, 16, 100), (10, 40, 20)),
    "braket": ((2, 8, 100), (4, 16, 100), (10, 40, 20)),
    "fake_manila": ((4, 16, 100),),
    "fake_torino": ((4, 16, 100),),
}
_DEVICES = {
    "qiskit": "IBM/aer_simulator",
    "cirq": "GOOGLE/cirq_simulator",
    "braket": "AWS/local_simulator",
    "fake_manila": "IBM/fake_manila",
    "fake_torino": "IBM/fake_torino",
}

#: A gate: its name, its qubits, and the number of its parameter.
Gate = tuple[str, tuple[int, ...], int]


def ansatz(qubits: int, parameters: int) -> Iterator[Gate]:
    """Yield layers of turns around Y, one a parameter, and of CX gates between neighbours."""
    for parameter in range(parameters):
        yield "ry", (parameter % qubits,), parameter
        if parameter % qubits == qubits - 1:
            yield from (("cx", (qubit, qubit + 1), -1) for qubit in range(qubits - 1))


def values_of(points: int, parameters: int) -> Any:
    """Return random values, points x parameters."""
    return np.random.default_rng(7).uniform(-3, 3, (points, parameters))


def program_text(qubits: int, parameters: int) -> str:
    """Return the circuit in OpenQASM 3, with an array of parameters as input."""
    lines = [f'OPENQASM 3.0; include "stdgates.inc"; input array[float, {parameters}] x;']
    lines.append(f"qubit[{qubits}] q; bit[{qubits}] c;")
    for name, places, parameter in ansatz(qubits, parameters):
        angle = f"(x[{parameter}])" if parameter >= 0 else ""
        lines.append(f"{name}{angle} {', '.join(f'q[{place}]' for place in places)};")
    return "\n".join([*lines, "c = measure q;"])


def worker(sdk: str, qubits: int, parameters: int, points: int) -> Callable[[], object]:
    """Return a function that runs the sweep as one task in this process."""
    provider, device = _DEVICES[sdk].split("/")
    runner = Runner(registry.get(provider), Languages())
    text = program_text(qubits, parameters)
    spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=SHOTS, seed=1)
    spec.parameter_sets.names.extend(f"x[{parameter}]" for parameter in range(parameters))
    spec.parameter_sets.values.extend(values_of(points, parameters).ravel().tolist())
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text=text)
    task = Task(job_id=1, attempt=1, provider=provider, device=device, spec=spec, programs=[program])

    def work() -> None:
        events: list[TaskEvent] = []
        runner.run(task, events.append)
        found = sum(len(event.points_done.results) for event in events)
        if found != points:
            raise RuntimeError(f"{found} of {points} points have results: {events[-2:]}")

    return work


def qiskit_circuit(qubits: int, parameters: int) -> tuple[Any, Any]:
    """Return the circuit and its parameters."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    circuit, vector = QuantumCircuit(qubits), ParameterVector("x", parameters)
    for name, places, parameter in ansatz(qubits, parameters):
        getattr(circuit, name)(*([vector[parameter]] if parameter >= 0 else []), *places)
    circuit.measure_all()
    return circuit, vector


def fake(device: str, qubits: int, parameters: int, points: int) -> Callable[[], object]:
    """Return the batch of a fake backend: the circuit is compiled once, and Aer receives all values in one call."""
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime import fake_provider

    backend = fake_provider.FakeProviderForBackendV2().backend(device)
    simulator = AerSimulator.from_backend(backend)
    circuit, vector = qiskit_circuit(qubits, parameters)
    compiled = generate_preset_pass_manager(1, backend=backend, seed_transpiler=0).run(circuit)
    values = values_of(points, parameters)
    binds = {vector[place]: values[:, place].tolist() for place in range(parameters)}

    def work() -> object:
        return simulator.run(compiled, parameter_binds=[binds], shots=SHOTS).result().get_counts()

    return work


def qiskit(qubits: int, parameters: int, points: int) -> Callable[[], object]:
    """Return Aer's batch: all values in one call, bound at run time."""
    from qiskit_aer import AerSimulator

    circuit, vector = qiskit_circuit(qubits, parameters)
    backend = AerSimulator(method="statevector", max_parallel_threads=1)
    values = values_of(points, parameters)
    binds = {vector[place]: values[:, place].tolist() for place in range(parameters)}

    def work() -> object:
        job = backend.run(circuit, parameter_binds=[binds], shots=SHOTS, runtime_parameter_bind_enable=True)
        return job.result().get_counts()

    return work


def cirq(qubits: int, parameters: int, points: int) -> Callable[[], object]:
    """Return Cirq's `run_sweep`."""
    import cirq as sdk
    import sympy

    line = sdk.LineQubit.range(qubits)
    circuit = sdk.Circuit()
    for name, places, parameter in ansatz(qubits, parameters):
        gate = sdk.CNOT if name == "cx" else sdk.ry(sympy.Symbol(f"x{parameter}"))
        circuit.append(gate.on(*(line[place] for place in places)))
    circuit.append(sdk.measure(*line, key="m"))
    simulator = sdk.Simulator()
    resolvers = [
        sdk.ParamResolver({f"x{place}": value for place, value in enumerate(row)})
        for row in values_of(points, parameters).tolist()
    ]

    def work() -> object:
        found = simulator.run_sweep(circuit, resolvers, repetitions=SHOTS)
        return [each.histogram(key="m") for each in found]

    return work


def braket(qubits: int, parameters: int, points: int) -> Callable[[], object]:
    """Return a loop over Braket's `run` with inputs, which is faster than its batches."""
    from braket.circuits import Circuit, FreeParameter
    from braket.devices import LocalSimulator

    circuit = Circuit()
    for name, places, parameter in ansatz(qubits, parameters):
        if name == "cx":
            circuit.cnot(*places)
        else:
            circuit.ry(places[0], FreeParameter(f"x{parameter}"))
    simulator = LocalSimulator()
    inputs = [{f"x{place}": value for place, value in enumerate(row)} for row in values_of(points, parameters).tolist()]

    def work() -> object:
        return [simulator.run(circuit, shots=SHOTS, inputs=each).result().measurement_counts for each in inputs]

    return work


def measure(sdk: str, rounds: int) -> Iterator[dict[str, object]]:
    """Yield the seconds of each round of each shape; the worker and the SDK alternate."""
    batch = {"qiskit": qiskit, "cirq": cirq, "braket": braket}.get(sdk) or partial(fake, sdk)
    for qubits, parameters, points in _SHAPES[sdk]:
        ours, local = worker(sdk, qubits, parameters, points), batch(qubits, parameters, points)
        ours()
        seconds: dict[str, list[float]] = {"ours": [], "local": []}
        # The longest are measured less often: a table takes no more than minutes.
        for _ in range(rounds if points < 10_000 else max(1, rounds // 2)):
            for name, work in (("local", local), ("ours", ours)):
                begun = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - begun)
        yield {
            "what": f"{sdk}, {points:,} points, {qubits} qubits, {parameters} parameters",
            "points": points,
            **seconds,
        }


if __name__ == "__main__":
    for line in measure(sys.argv[1], int(sys.argv[2])):
        print(json.dumps(line), flush=True)
