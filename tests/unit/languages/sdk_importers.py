# SPDX-License-Identifier: Apache-2.0
"""Exact distributions of programs as the SDKs' own importers read them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

State = np.ndarray[Any, Any]
_MEASURE = re.compile(r"(\w+)\[(\d+)\] = measure q\[(\d+)\];")
_DECLARED = re.compile(r"^bit\[(\d+)\] (\w+);", re.MULTILINE)


def key(values: dict[str, int], names: list[str]) -> str:
    return " ".join(hex(values.get(name, 0)) for name in reversed(names))


def cirq_distribution(source: str) -> tuple[list[tuple[str, int]], dict[str, float]]:  # noqa: C901 - a whole simulator
    """Return registers and distribution of Cirq's JSON, read by Cirq; branches at every measurement and reset."""
    import cirq

    circuit = cirq.read_json(json_text=source)
    qubits = sorted(circuit.all_qubits())
    place = {qubit: number for number, qubit in enumerate(qubits)}
    state = np.zeros((2,) * len(qubits), dtype=complex)
    state[(0,) * len(qubits)] = 1
    paths: list[tuple[State, dict[str, tuple[int, ...]]]] = [(state, {})]
    sizes: dict[str, int] = {}
    for operation in circuit.all_operations():
        after = []
        for state, known in paths:
            inner = operation
            if isinstance(operation, cirq.ClassicallyControlledOperation):
                data = cirq.ClassicalDataDictionaryStore()
                for name, digits in known.items():
                    data.record_measurement(cirq.MeasurementKey(name), digits, cirq.LineQubit.range(len(digits)))
                if not all(condition.resolve(data) for condition in operation._conditions):
                    after.append((state, known))
                    continue
                inner = operation.without_classical_controls()
            axes = [place[qubit] for qubit in inner.qubits]
            if isinstance(inner.gate, cirq.MeasurementGate):
                sizes[inner.gate.key] = len(axes)
                for outcome in np.ndindex((2,) * len(axes)):
                    kept = _kept(state, dict(zip(axes, outcome, strict=True)))
                    if np.vdot(kept, kept).real > 1e-12:
                        after.append((kept, known | {inner.gate.key: outcome}))
            elif isinstance(inner.gate, cirq.ResetChannel):
                for value in (0, 1):
                    kept = _kept(state, {axes[0]: value})
                    if np.vdot(kept, kept).real > 1e-12:
                        after.append((np.flip(kept, axis=axes[0]) if value else kept, known))
            else:
                matrix = cirq.unitary(inner).reshape((2,) * 2 * len(axes))
                moved = np.tensordot(matrix, state, axes=(list(range(len(axes), 2 * len(axes))), axes))
                after.append((np.moveaxis(moved, list(range(len(axes))), axes), known))
        paths = after
    found: dict[str, float] = {}
    for state, known in paths:
        values = {name: sum(bit << k for k, bit in enumerate(digits)) for name, digits in known.items()}
        text = key(values, list(sizes))
        found[text] = found.get(text, 0.0) + float(np.vdot(state, state).real)
    return list(sizes.items()), found


def braket_distribution(source: str) -> tuple[list[tuple[str, int]], dict[str, float]]:
    """Return registers and distribution of a program that ends in measurements, as Braket's simulator reads it."""
    from braket.default_simulator.state_vector_simulator import StateVectorSimulator
    from braket.ir.openqasm import Program

    simulator = StateVectorSimulator()
    sizes = [(name, int(size)) for size, name in _DECLARED.findall(source)]
    measures = _MEASURE.findall(source)
    gates = simulator.parse_program(Program(source=_MEASURE.sub("", source))).circuit
    count = int(re.search(r"qubit\[(\d+)\]", source).group(1))  # type: ignore[union-attr]
    simulation = simulator.initialize_simulation(qubit_count=count, shots=1, batch_size=1)
    simulation.evolve(gates.instructions)
    found: dict[str, float] = {}
    for number, probability in enumerate(simulation.probabilities):
        values: dict[str, int] = {}
        for name, bit, qubit in measures:
            value = number >> (count - 1 - int(qubit)) & 1
            values[name] = values.get(name, 0) | value << int(bit)
        text = key(values, [name for name, _ in sizes])
        found[text] = found.get(text, 0.0) + float(probability)
    return sizes, found


def _kept(state: State, values: dict[int, int]) -> State:
    """Return the projection of a state onto these qubit values."""
    kept = np.zeros_like(state)
    where = tuple(values.get(axis, slice(None)) for axis in range(state.ndim))
    kept[where] = state[where]
    return kept
