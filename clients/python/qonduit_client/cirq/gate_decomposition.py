# SPDX-License-Identifier: Apache-2.0
"""Decompose Cirq operations to those that a server supports: custom gates, tags and sub-circuits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import cirq
import numpy as np
from cirq.circuits.qasm_output import QasmUGate

#: Gates that are sent unchanged. Exact classes only: a subclass may have another meaning.
_READ: Final = frozenset(
    (
        cirq.XPowGate, cirq.YPowGate, cirq.ZPowGate, cirq.HPowGate, cirq.CXPowGate, cirq.CZPowGate, cirq.SwapPowGate,
        cirq.ISwapPowGate, cirq.XXPowGate, cirq.YYPowGate, cirq.ZZPowGate, cirq.CCXPowGate, cirq.CCZPowGate,
        type(cirq.X), type(cirq.Y), type(cirq.Z), cirq.Rx, cirq.Ry, cirq.Rz, cirq.MSGate, QasmUGate,
        cirq.PhasedXPowGate, cirq.PhasedXZGate, cirq.PhasedISwapPowGate, cirq.FSimGate, cirq.PhasedFSimGate,
        cirq.CSwapGate, cirq.IdentityGate, cirq.WaitGate, cirq.QubitPermutationGate,
        cirq.DiagonalGate, cirq.TwoQubitDiagonalGate, cirq.ThreeQubitDiagonalGate,
    )
)  # fmt: skip
#: Non-unitary gates that are sent unchanged.
NO_UNITARY: Final = frozenset(
    (
        cirq.MeasurementGate, cirq.ResetChannel, cirq.StatePreparationChannel,
        cirq.AmplitudeDampingChannel, cirq.AsymmetricDepolarizingChannel, cirq.BitFlipChannel,
        cirq.DepolarizingChannel, cirq.GeneralizedAmplitudeDampingChannel, cirq.KrausChannel,
        cirq.MixedUnitaryChannel, cirq.PhaseDampingChannel, cirq.PhaseFlipChannel,
    )
)  # fmt: skip
#: Maximum qubits of other channels, which are sent as Kraus operators.
_LARGEST_CHANNEL: Final = 2
#: Maximum qubits of custom gates that are sent as matrices; larger ones are decomposed if possible.
_SMALL: Final = 3
#: Maximum qubits of a matrix.
_LARGEST: Final = 10
#: Matrices with a larger error are replaced by the nearest unitary: servers are stricter than Cirq.
_ROUNDING: Final = 1e-9


class NeedsValues(Exception):
    """The decomposition of an operation depends on values of its parameters."""


def readable(operations: Iterable[cirq.Operation]) -> Iterator[cirq.Operation]:
    """Yield operations that a server supports, in the execution order of Cirq's simulators.

    Operations that need no decomposition are yielded unchanged.

    Raises:
        TypeError: an operation is not supported, as in Cirq's simulators.
        NeedsValues: a decomposition depends on values of the parameters.
    """
    for operation in operations:
        yield from _readable(operation)


def moments_of(moment: cirq.Moment, operations: Sequence[cirq.Operation]) -> list[cirq.Moment]:
    """Return moments with the operations that replace those of a moment: the moment itself if they are the same."""
    if same(moment.operations, operations) and not getattr(moment, "tags", ()):
        return [moment]
    return list(cirq.Circuit(operations).moments)


def is_loop(operation: cirq.Operation) -> bool:
    """Return whether an operation repeats until a condition holds."""
    return type(operation) is cirq.CircuitOperation and operation.repeat_until is not None


def same(given: Sequence[cirq.Operation], made: Sequence[cirq.Operation]) -> bool:
    """Return whether `readable` left these operations unchanged."""
    return len(given) == len(made) and all(one is other for one, other in zip(given, made, strict=True))


def _readable(operation: cirq.Operation) -> Iterator[cirq.Operation]:
    kind = type(operation)
    if kind is cirq.GateOperation:
        yield from _gate(operation)
    elif kind is cirq.ops.SingleQubitPauliStringGateOperation:
        yield operation
    elif kind is cirq.TaggedOperation:
        yield from _readable(operation.untagged)
    elif kind is cirq.ClassicallyControlledOperation:
        yield from _conditional(operation)
    elif kind is cirq.CircuitOperation:
        yield from _sub_circuit(operation)
    elif kind is cirq.ControlledOperation and type(operation.sub_operation.gate) in _READ:
        yield operation
    else:
        yield from _decomposed(operation)


def _gate(operation: cirq.Operation) -> Iterator[cirq.Operation]:
    gate = operation.gate
    kind = type(gate.sub_gate) if type(gate) is cirq.ControlledGate else type(gate)
    if kind in _READ or type(gate) in NO_UNITARY or (kind is cirq.GlobalPhaseGate and not cirq.is_parameterized(gate)):
        yield operation
    elif type(gate) is cirq.MatrixGate and len(operation.qubits) <= _LARGEST:
        yield operation if _exact(cirq.unitary(gate)) else _as_matrix(operation)
    else:
        yield from _decomposed(operation)


def _conditional(operation: cirq.Operation) -> Iterator[cirq.Operation]:
    bare = operation.without_classical_controls()
    parts = list(_readable(bare))
    if len(parts) == 1 and parts[0] is bare:
        yield operation
    else:
        conditions = sorted(operation.classical_controls, key=str)
        yield from (part.with_classical_controls(*conditions) for part in parts)


def _sub_circuit(operation: cirq.Operation) -> Iterator[cirq.Operation]:
    """Yield a sub-circuit: unchanged, unless it has measurements or conditions or contains unsupported operations."""
    if is_loop(operation):
        yield _loop(operation)
        return
    inner = list(operation.circuit.all_operations())
    needs_unrolling = cirq.is_measurement(operation) or cirq.control_keys(operation)
    if not needs_unrolling and same(inner, list(readable(inner))):
        yield operation
    elif cirq.is_parameterized(operation.repetitions):
        raise NeedsValues
    else:
        yield from readable(operation.mapped_circuit().all_operations())


def _loop(operation: cirq.CircuitOperation) -> cirq.CircuitOperation:
    """Return a loop with the keys and qubits of the whole circuit, and with supported operations."""
    # Cirq maps the keys of a condition as those of an operation that follows the circuit.
    last = cirq.I(min(operation.circuit.all_qubits())).with_classical_controls(operation.repeat_until)
    once = operation.replace(circuit=cirq.FrozenCircuit(*operation.circuit, cirq.Moment(last)), repeat_until=None)
    *moments, after = once.mapped_circuit().moments
    (condition,) = after.operations[0].classical_controls
    body = [each for moment in moments for each in moments_of(moment, list(readable(moment)))]
    return loop_of(body, condition)


def loop_of(body: Sequence[cirq.Moment], condition: cirq.Condition) -> cirq.CircuitOperation:
    """Return a loop that repeats moments until a condition holds."""
    return cirq.CircuitOperation(cirq.FrozenCircuit(body), repeat_until=condition, use_repetition_ids=False)


def _decomposed(operation: cirq.Operation) -> Iterator[cirq.Operation]:
    """Yield an operation as a matrix or as its decomposition."""
    if cirq.is_parameterized(operation):
        raise NeedsValues
    unitary = cirq.has_unitary(operation)
    if unitary and len(operation.qubits) <= _SMALL:
        yield _as_matrix(operation)
        return
    parts = cirq.decompose_once(operation, None)
    if parts is not None:
        yield from readable(parts)
    elif unitary and len(operation.qubits) <= _LARGEST:
        yield _as_matrix(operation)
    elif _is_small_channel(operation):
        yield cirq.KrausChannel(cirq.kraus(operation)).on(*operation.qubits)
    else:
        raise TypeError(f"QonduitSampler doesn't support {operation!r}")


def _is_small_channel(operation: cirq.Operation) -> bool:
    """Return whether an operation has Kraus operators, and records nothing."""
    small = len(operation.qubits) <= _LARGEST_CHANNEL and not cirq.is_measurement(operation)
    return bool(small and cirq.has_kraus(operation))


def _as_matrix(operation: cirq.Operation) -> cirq.Operation:
    matrix = cirq.unitary(operation)
    if not _exact(matrix):
        left, _, right = np.linalg.svd(matrix.astype(np.complex128))
        matrix = left @ right
    return (
        cirq.MatrixGate(matrix).on(*operation.qubits) if operation.qubits else cirq.global_phase_operation(matrix[0, 0])
    )


def _exact(matrix: Any) -> bool:
    return bool(np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), rtol=0, atol=_ROUNDING))
