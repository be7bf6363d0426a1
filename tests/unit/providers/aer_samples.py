# SPDX-License-Identifier: Apache-2.0
"""Circuits for tests of Aer's methods, small generators of known families, and a device that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from qiskit.circuit import QuantumCircuit

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir import noise
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.aer.aer_simulator import AerSimulator
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions

DEVICE = "aer_simulator"


@cache
def aer() -> AerSimulator:
    """The device, loaded once."""
    found = AerSimulator()
    found.load()
    return found


def compiled(quantum: QuantumCircuit, shots: int = 1000, limit: int = 0, **simulation: object) -> CompiledCircuit:
    options = CompileOptions(limit, shots=1 << shots.bit_length(), simulation=SimulationOptions(**simulation))  # type: ignore[arg-type]
    return aer().compile(Circuit(quantum, ()), DEVICE, options)


def run(quantum: QuantumCircuit, shots: int = 1000, seed: int | None = 7, **simulation: object) -> Outcome:
    *_, outcome = aer().run(DEVICE, [compiled(quantum, shots, **simulation)], shots, seed)
    assert isinstance(outcome, Outcome), outcome
    assert sum(outcome.counts.values()) == shots
    return outcome


def exact(quantum: QuantumCircuit, shots: int = 1000, **simulation: object) -> Mapping[int, float] | None:
    return aer().probabilities(DEVICE, compiled(quantum, shots, **simulation))


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return measured(circuit)


def bernstein_vazirani(qubits: int, secret: int) -> QuantumCircuit:
    last = qubits - 1
    circuit = QuantumCircuit(qubits, last)
    circuit.x(last)
    circuit.h(range(qubits))
    for qubit in range(last):
        if secret >> qubit & 1:
            circuit.cx(qubit, last)
    circuit.h(range(last))
    circuit.measure(range(last), range(last))
    return circuit


def random_clifford(qubits: int, layers: int, seed: int) -> QuantumCircuit:
    random = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(layers):
        for qubit in range(qubits):
            getattr(circuit, ("h", "s", "x", "sdg", "sx", "y", "sxdg", "z")[random.integers(8)])(qubit)
        order = random.permutation(qubits).tolist()
        for pair in zip(order[::2], order[1::2], strict=False):
            getattr(circuit, ("cx", "cz", "cy", "swap", "iswap", "ecr")[random.integers(6)])(*pair)
    return measured(circuit)


def adder(bits: int, first: int, second: int) -> QuantumCircuit:
    """The ripple-carry adder of Cuccaro et al. (quant-ph/0410184) on 2 * bits + 2 qubits; the sum is measured."""
    circuit = QuantumCircuit(2 * bits + 2, bits + 1)
    carry, a, b = 0, [1 + 2 * k for k in range(bits)], [2 + 2 * k for k in range(bits)]
    for k in range(bits):
        if first >> k & 1:
            circuit.x(a[k])
        if second >> k & 1:
            circuit.x(b[k])
    carries = [carry, *a]
    for k in range(bits):
        circuit.cx(a[k], b[k])
        circuit.cx(a[k], carries[k])
        circuit.ccx(carries[k], b[k], a[k])
    circuit.cx(a[-1], 2 * bits + 1)
    for k in reversed(range(bits)):
        circuit.ccx(carries[k], b[k], a[k])
        circuit.cx(a[k], carries[k])
        circuit.cx(carries[k], b[k])
    circuit.measure([*b, 2 * bits + 1], range(bits + 1))
    return circuit


def ising(qubits: int, steps: int = 2) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(range(qubits))
    for _ in range(steps):
        for first in (0, 1):
            for qubit in range(first, qubits - 1, 2):
                circuit.rzz(0.3, qubit, qubit + 1)
        circuit.rx(0.4, range(qubits))
    return measured(circuit)


def w_state(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.x(0)
    for qubit in range(qubits - 1):
        circuit.cry(2 * np.arccos(np.sqrt(1 / (qubits - qubit))), qubit, qubit + 1)
        circuit.cx(qubit + 1, qubit)
    return measured(circuit)


def swap_test(pairs: int) -> QuantumCircuit:
    """The shape of knn: one qubit compares two registers of equal states, so it is always 0."""
    circuit = QuantumCircuit(2 * pairs + 1, 1)
    for k in range(pairs):
        circuit.ry(0.1 + k / pairs, [1 + 2 * k, 2 + 2 * k])
    circuit.h(0)
    for k in range(pairs):
        circuit.cswap(0, 1 + 2 * k, 2 + 2 * k)
    circuit.h(0)
    circuit.measure(0, 0)
    return circuit


def layered(qubits: int, layers: int, seed: int = 1) -> QuantumCircuit:
    """Random gates that entangle neighbours, and measurement of all qubits."""
    random = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits, qubits)
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.u(*(3 * random.random(3)), qubit)
        for qubit in range(layer % 2, qubits - 1, 2):
            circuit.cx(qubit, qubit + 1)
    return measured(circuit)


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure(range(circuit.num_qubits), range(circuit.num_qubits))
    return circuit


def noisy(circuit: QuantumCircuit, *, pauli: bool = False, readout: bool = True) -> QuantumCircuit:
    """Return a circuit with a channel behind each gate, and a readout error behind each measurement."""
    found = circuit.copy_empty_like()
    for instruction in circuit.data:
        found.append(instruction)
        if instruction.operation.name == "measure":
            if readout:
                found.append(noise.ReadoutError(0.03, 0.08), [], instruction.clbits)
        elif len(instruction.qubits) == 2:
            found.append(noise.pauli({"IX": 0.03, "YZ": 0.06}), instruction.qubits)
        else:
            found.append(noise.bit_flip(0.04) if pauli else noise.amplitude_damping(0.1), instruction.qubits)
    return found
