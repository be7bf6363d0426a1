# SPDX-License-Identifier: Apache-2.0
"""Lowering: replaces gates that a device lacks by gates that it has, for every provider's compile()."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from qonduit_server.errors import DeviceError, LimitError, ProgramError
from qonduit_server.ir.symbolic import is_open

if TYPE_CHECKING:
    from qiskit.circuit import CircuitInstruction, Instruction, QuantumCircuit

#: Maximum number of operations after lowering. Readers limit their operations too, but do not see this expansion.
MAX_OPERATIONS: Final = 2_000_000
_MAX_DEPTH: Final = 200


class Lowering:
    """Expands operations by their definitions until `is_native` accepts all of them.

    Global phases of definitions are collected separately: no measurement depends on them, since controls are expanded
    last.

    Args:
        device: for messages, "PROVIDER/device".
        is_native: whether the device has an operation.

    Attributes:
        phase: the global phase, in radians, of all expansions.
    """

    def __init__(self, device: str, is_native: Callable[[Instruction], bool]) -> None:
        self._device = device
        self._is_native = is_native
        self._known: dict[object, tuple[list[tuple[Instruction, tuple[int, ...]]], float]] = {}
        self._budget = MAX_OPERATIONS
        self.phase = 0.0

    def expand(self, operation: Instruction) -> list[tuple[Instruction, tuple[int, ...]]]:
        """Return the native operations of an operation, each with its indices into the operation's qubits.

        Raises:
            DeviceError: UNSUPPORTED_CONSTRUCT, the operation has no definition.
            LimitError: it expands to too many operations.
        """
        steps, phase = self._expansion(operation, 0)
        self.phase += phase
        return steps

    def _expansion(self, operation: Instruction, depth: int) -> tuple[list[tuple[Instruction, tuple[int, ...]]], float]:
        if self._is_native(operation):
            if any(isinstance(each, float) and not math.isfinite(each) for each in operation.params):
                raise ProgramError("SYNTAX_ERROR", f"a parameter of {operation.name!r} is not a finite number")
            return [(operation, tuple(range(operation.num_qubits)))], 0.0
        key = self._key(operation)
        known = self._known.get(key) if key is not None else None
        if known is None:
            known = self._define(operation, depth)
            if key is not None:
                self._known[key] = known
        self._budget -= len(known[0])
        if self._budget < 0:
            raise LimitError(
                "TOO_LARGE", f"the program expands to more than {MAX_OPERATIONS} operations on {self._device}"
            )
        return known

    def _key(self, operation: Instruction) -> object:
        """Return a cache key that operations of equal expansion share; None without one."""
        if operation.mutable or getattr(operation, "_standard_gate", None) is None:
            return None
        if any(map(is_open, operation.params)):
            return None  # the hash of some expressions raises an error in Qiskit 2.6
        return (operation.base_class, tuple(operation.params))

    def _define(self, operation: Instruction, depth: int) -> tuple[list[tuple[Instruction, tuple[int, ...]]], float]:
        if depth > _MAX_DEPTH:
            raise LimitError("TOO_LARGE", f"gates are nested more than {_MAX_DEPTH} deep")
        definition = operation.definition
        if definition is None:
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT",
                f"{self._device} has no operation {operation.name!r}, and the program does not define it (opaque?)",
            )
        steps: list[tuple[Instruction, tuple[int, ...]]] = []
        given = definition.global_phase
        phase = given if is_open(given) else float(given)
        for inner in definition.data:
            if inner.operation.name in ("barrier", "delay"):
                continue
            places = tuple(definition.find_bit(qubit).index for qubit in inner.qubits)
            expansion, own_phase = self._expansion(inner.operation, depth + 1)
            phase += own_phase
            for step, own in expansion:
                steps.append((step, tuple(places[place] for place in own)))
        return steps, phase


def standard_gate_classes() -> frozenset[type]:
    """Return the classes of Qiskit's standard gates, which distinguish them from a program's gates of the same name."""
    from qiskit.circuit.library import standard_gates

    return frozenset(each for each in vars(standard_gates).values() if isinstance(each, type))


def bits_of(circuit: QuantumCircuit, instruction: CircuitInstruction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of an instruction's qubits and classical bits."""
    find = circuit.find_bit
    return tuple(find(qubit).index for qubit in instruction.qubits), tuple(
        find(clbit).index for clbit in instruction.clbits
    )
