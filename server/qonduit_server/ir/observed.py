# SPDX-License-Identifier: Apache-2.0
"""Circuits that measure an observable: a program without its final measurements, with measurements in a basis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qonduit_server.ir.circuit import Circuit


def without_final_measurements(circuit: Circuit) -> Circuit:
    """Return a circuit without the measurements that no operation follows, and without their readout errors.

    A measurement is final where no operation acts on its qubit afterwards, and none depends on its bit.
    """
    from qonduit_server.ir.noise import ReadoutError

    quantum = circuit.quantum
    find = quantum.find_bit
    used: set[int] = set()
    read: set[int] = set()
    kept = []
    for instruction in reversed(quantum.data):
        operation = instruction.operation
        qubits = [find(qubit).index for qubit in instruction.qubits]
        clbits = [find(clbit).index for clbit in instruction.clbits]
        if operation.name == "barrier":
            continue
        if isinstance(operation, ReadoutError):
            if read.isdisjoint(clbits):
                continue
        elif operation.name == "measure" and used.isdisjoint(qubits) and read.isdisjoint(clbits):
            continue
        else:
            used.update(qubits)
            if operation.name != "measure":
                read.update(clbits)
        kept.append(instruction)
    left = quantum.copy_empty_like()
    for instruction in reversed(kept):
        left._append(instruction)
    return replace(circuit, quantum=left, registers=())


def measured_in(
    circuit: Circuit, changes: Iterable[tuple[str, int]], support: int, readout: Circuit | None = None
) -> Circuit:
    """Return a circuit with changes of basis and measurements behind it.

    Args:
        circuit: without final measurements.
        changes: gates without parameters, by name, each with its qubit.
        support: the mask of the qubits to measure.
        readout: measures qubit k of as many qubits into bit k, with errors; None for measurements without errors.

    Returns:
        The circuit. It has a bit for each qubit behind its own bits, in the order of the qubits.
    """
    from qiskit.circuit import Clbit

    quantum = circuit.quantum.copy()
    for name, qubit in changes:
        getattr(quantum, name)(qubit)
    before, number = quantum.num_clbits, quantum.num_qubits
    quantum.add_bits([Clbit() for _ in range(number)])
    measured = {qubit for qubit in range(number) if support >> qubit & 1}
    if readout is None:
        for qubit in sorted(measured):
            quantum.measure(qubit, before + qubit)
    else:
        find = readout.quantum.find_bit
        steps = [
            (each.operation, [find(qubit).index for qubit in each.qubits], [find(clbit).index for clbit in each.clbits])
            for each in readout.quantum.data
        ]
        for _, _, clbits in steps:  # the bits of a correlated error are measured together
            if not measured.isdisjoint(clbits):
                measured.update(clbits)
        for operation, qubits, clbits in steps:
            if measured.issuperset(clbits):
                quantum.append(operation, qubits, [before + clbit for clbit in clbits], copy=False)
    return replace(circuit, quantum=quantum)


def measurements(qubits: int) -> Circuit:
    """Return a circuit that measures qubit k into bit k."""
    from qiskit import QuantumCircuit

    measured = QuantumCircuit(qubits, qubits)
    measured.measure(range(qubits), range(qubits))
    return Circuit(measured, ())
