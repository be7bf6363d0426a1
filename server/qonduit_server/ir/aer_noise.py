# SPDX-License-Identifier: Apache-2.0
"""Noise models of Qiskit Aer, applied to programs.

As in Aer, errors act on compiled gates. An error for exactly the qubits of a gate, in this order, replaces the one for
all qubits; several errors for the same qubits act one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from qiskit import transpile
from qiskit.circuit import CircuitInstruction, ControlFlowOp, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError

from qonduit_server.ir import noise
from qonduit_server.ir.aer_model import AerModel, invalid, read_model
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.limits import MAX_OPERATIONS, too_large
from qonduit_server.ir.noise import Channel

#: Aer's basis for models that name no other gates; cx only where a model has no error of an entangling gate.
_BASIS: Final = ("id", "rz", "sx")
_ENTANGLING: Final = frozenset(("cx", "cz", "ecr", "cy", "ch", "iswap", "rzz", "rxx", "ryy", "rzx", "cp", "csx"))


def with_aer_noise(circuit: Circuit, text: str, optimization_level: int = 1) -> Circuit:
    """Return a circuit, compiled to the basis gates of a noise model, with the model's errors as operations.

    Raises:
        ProgramError: reason INVALID_NOISE, with the path in the JSON; or TOO_LARGE.
    """
    model = read_model(text)
    applied = _Pass(model)
    compiled = compile_to_basis(circuit.quantum, basis_gates(text), optimization_level)
    quantum = applied.apply(compiled, tuple(range(compiled.num_qubits)))
    return replace(circuit, quantum=quantum, warnings=(*circuit.warnings, *model.warnings))


def basis_gates(text: str) -> list[str]:
    """Return the gates that programs are compiled to under a noise model."""
    named = set(read_model(text).gates) & set(get_standard_gate_name_mapping()) - {"measure", "reset", "delay"}
    return sorted({*_BASIS, *named, *(() if named & _ENTANGLING else ("cx",))})


def compile_to_basis(quantum: QuantumCircuit, basis: Sequence[str], optimization_level: int) -> QuantumCircuit:
    """Return a circuit that has gates of a basis only, on the same qubits and bits."""
    if noise.has_noise(quantum):
        raise invalid("", "a program with noise operations of its own cannot have a noise model of Aer")
    try:
        return transpile(quantum, basis_gates=list(basis), optimization_level=optimization_level, seed_transpiler=0)
    except QiskitError as error:
        raise invalid("", f"the program cannot be compiled to {', '.join(basis)}: {error.message}") from error


class _Pass:
    def __init__(self, model: AerModel) -> None:
        self._model = model
        self._count = 0

    def apply(self, block: QuantumCircuit, numbers: tuple[int, ...]) -> QuantumCircuit:
        """Return a block with errors; `numbers` are the program's qubits that its own are."""
        noisy = block.copy_empty_like()
        for instruction in block.data:
            operation = instruction.operation
            own = tuple([numbers[block.find_bit(qubit).index] for qubit in instruction.qubits])
            if isinstance(operation, ControlFlowOp):
                operation = operation.replace_blocks([self.apply(inner, own) for inner in operation.blocks])
                noisy._append(CircuitInstruction(operation, instruction.qubits, instruction.clbits))
                continue
            errors = [] if operation.name == "barrier" else self._errors(operation, own)
            self._count += 1 + len(errors)
            if self._count > MAX_OPERATIONS:
                raise too_large(f"with its noise the program has more than {MAX_OPERATIONS} operations")
            if operation.name != "measure":
                noisy._append(instruction)
            for channel in errors:
                qubits = instruction.qubits[: channel.num_qubits]
                noisy._append(CircuitInstruction(channel, qubits, ()))
            if operation.name == "measure":  # errors of measurements act before them
                noisy._append(instruction)
                readout = self._model.readouts.get(own, self._model.readouts.get(()))
                if readout is not None:
                    noisy._append(CircuitInstruction(readout, (), instruction.clbits))
        return noisy

    def _errors(self, operation: Any, qubits: tuple[int, ...]) -> list[Channel]:
        label = getattr(operation, "label", None) or ""
        errors = self._model.errors(label if label in self._model.gates else operation.name, qubits)
        for channel in errors:
            if channel.num_qubits > len(qubits):
                raise invalid(
                    "", f"an error on {channel.num_qubits} qubits for {operation.name}, which has {len(qubits)}"
                )
        return errors
