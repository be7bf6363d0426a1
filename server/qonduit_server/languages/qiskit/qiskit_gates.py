# SPDX-License-Identifier: Apache-2.0
"""Gates of Qiskit's circuits: those that the IR accepts, and the decomposition of others."""

from __future__ import annotations

import cmath
import math
import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    ControlModifier,
    Gate,
    Instruction,
    InverseModifier,
    Operation,
    Parameter,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
)
from qiskit.circuit import library as qk
from qiskit.exceptions import QiskitError
from qiskit.quantum_info.operators.predicates import is_unitary_matrix
from qiskit.synthesis import synth_permutation_basic

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import unsupported, wrong
from qonduit_server.ir.controls import Step
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.ir.noise import Channel, kraus
from qonduit_server.ir.symbolic import is_open
from qonduit_server.languages import gate_modifiers
from qonduit_server.languages.named_gates import named
from qonduit_server.languages.signatures import NO_NAMES

#: Exceptions that Qiskit's code raises for inconsistent circuits.
FAULTS: Final = (
    QiskitError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
)

#: The free inputs, which gates may hold expressions over.
Free: TypeAlias = frozenset[Parameter]
CLOSED: Final[Free] = frozenset()

#: Gates of Qiskit's library that compilers and writers know, or that have a short definition.
_KEPT: Final = frozenset(
    (
        qk.C3XGate,
        qk.C3SXGate,
        qk.C4XGate,
        qk.MCXGate,
        qk.MCPhaseGate,
        qk.StatePreparation,
        qk.UnitaryGate,
    )
)


def is_standard(operation: Operation) -> bool:
    """Return whether a gate is one of Qiskit's numbered standard gates, which need no inspection."""
    return isinstance(operation, Gate) and operation._standard_gate is not None and not _has_open_controls(operation)


def is_kept(operation: Operation) -> bool:
    """Return whether the IR accepts an operation unchanged. The definition of others may not be unitary."""
    return is_standard(operation) or (type(operation) in _KEPT and not _has_open_controls(operation))


def _has_open_controls(gate: Operation) -> bool:
    return isinstance(gate, ControlledGate) and gate.ctrl_state != (1 << gate.num_ctrl_qubits) - 1


def is_channel(operation: Operation) -> bool:
    """Return whether an operation is a channel of quantum_info as an instruction: it has no class of its own."""
    return type(operation) is Instruction and operation.name == "kraus" and operation.definition is None


def channel(operation: Instruction) -> Channel:
    """Return the channel of an instruction. Raises ProgramError: it is not one."""
    try:
        found = kraus(operation.params)
    except (TypeError, ValueError) as error:
        raise wrong("the parameters of 'kraus' are not matrices of numbers") from error
    if found.num_qubits != operation.num_qubits or operation.num_clbits:
        raise wrong(f"a channel on {found.num_qubits} qubits is an operation on {operation.num_qubits}")
    return found


def checked(gate: Gate, free: Free = CLOSED) -> Gate:
    """Return the same gate; reject parameters that are not finite real numbers, or expressions over free inputs."""
    for place, each in enumerate(gate.params):
        if isinstance(each, ParameterExpression):
            if each.parameters:
                if free.issuperset(each.parameters):
                    continue
                names = ", ".join(sorted(one.name for one in each.parameters))
                raise wrong(f"a parameter of {gate.name!r} has no value: {names}")
            number = each.numeric()
            if isinstance(number, complex):
                raise wrong(f"a parameter of {gate.name!r} is not a real number")
            gate = gate.to_mutable()
            gate.params[place] = each = float(number)
        if isinstance(each, float) and not math.isfinite(each):
            raise wrong(f"a parameter of {gate.name!r} is not a finite number")
        if isinstance(each, complex) and not cmath.isfinite(each):
            raise wrong(f"a parameter of {gate.name!r} is not a finite number")
    if type(gate) is qk.UnitaryGate and not is_unitary_matrix(gate.to_matrix()):
        raise wrong("the matrix of a gate is not unitary")
    return gate


def definition(operation: Operation, free: Free = CLOSED) -> QuantumCircuit:
    """Return the definition of an operation, which may depend on free inputs.

    Raises:
        ProgramError: it has no definition, or an invalid one.
    """
    try:
        if isinstance(operation, qk.PermutationGate):  # Qiskit 2.6 does not define it
            made = synth_permutation_basic(operation.pattern)
        elif isinstance(operation, Instruction):
            made = operation.definition
        else:
            convert = getattr(operation, "to_circuit", None)
            made = convert() if convert is not None else None
    except FAULTS as error:
        raise ProgramError("SYNTAX_ERROR", f"{operation.name!r} cannot be computed: {str(error)[:200]}") from error
    if made is None:
        raise unsupported(
            f"there is no definition of {operation.name!r} (opaque, or an instruction for one simulator only): "
            "define it, or remove it"
        )
    if made.parameters and not free.issuperset(made.parameters):
        raise wrong(f"the definition of {operation.name!r} has parameters without a value")
    return made


def annotated(operation: AnnotatedOperation, spend: Callable[[int], None], free: Free = CLOSED) -> list[Step]:
    """Return an operation with modifiers, as gates on its places; controls come first.

    Args:
        spend: called with the number of steps.
        free: the free inputs that its parameters may depend on.
    """
    return _steps(operation, spend, 0, NO_NAMES, free)


def steps(operation: Gate, spend: Callable[[int], None], gate_names: frozenset[str], free: Free = CLOSED) -> list[Step]:
    """Return what a gate is made of, with gates of these names whole."""
    return _body(operation, spend, 0, gate_names, free)


def _steps(
    operation: Operation, spend: Callable[[int], None], depth: int, gate_names: frozenset[str], free: Free
) -> list[Step]:
    if depth > MAX_DEPTH:
        raise too_large(f"definitions are nested more than {MAX_DEPTH} deep")
    if isinstance(operation, AnnotatedOperation):
        return _modified(operation, _steps(operation.base_op, spend, depth + 1, NO_NAMES, free), spend)
    if is_kept(operation):
        spend(1)
        return [(checked(operation, free), tuple(range(operation.num_qubits)))]
    body = _body(operation, spend, depth, gate_names, free)
    if operation.name in gate_names and isinstance(operation, Gate):
        return named(operation.name, body, operation.num_qubits)
    return body


def _body(
    operation: Operation, spend: Callable[[int], None], depth: int, gate_names: frozenset[str], free: Free
) -> list[Step]:
    """Return the steps of an operation's definition."""
    made = definition(operation, free)
    if made.num_clbits or made.num_vars:
        raise unsupported(f"{operation.name!r} is more than a gate, and takes no modifiers")
    found = []
    if made.global_phase:
        found += gate_modifiers.phase(made.global_phase if is_open(made.global_phase) else float(made.global_phase))
    for each in made.data:
        inner = each.operation
        if inner.name == "barrier":
            continue
        if not isinstance(inner, Gate | AnnotatedOperation) and type(inner) is not Instruction:
            raise unsupported(f"{operation.name!r} is more than a gate, and takes no modifiers")
        places = [made.find_bit(qubit).index for qubit in each.qubits]
        own_steps = _steps(inner, spend, depth + 1, gate_names, free)
        found += [(gate, tuple(places[place] for place in own)) for gate, own in own_steps]
    return found


def _modified(operation: AnnotatedOperation, steps: list[Step], spend: Callable[[int], None]) -> list[Step]:
    """Apply an operation's modifiers to the steps of its base."""
    size = operation.base_op.num_qubits
    for modifier in operation.modifiers:
        match modifier:
            case InverseModifier():
                steps = gate_modifiers.inverse(steps)
            case ControlModifier():
                if modifier.num_ctrl_qubits < 1:
                    raise wrong("a control modifier has no control")
                steps = gate_modifiers.control(steps, modifier.num_ctrl_qubits, modifier.ctrl_state)
                size += modifier.num_ctrl_qubits
            case PowerModifier():
                if not math.isfinite(modifier.power):
                    raise wrong("a power is not a finite number")
                steps = gate_modifiers.power(steps, modifier.power, size, spend)
            case _:
                raise unsupported(f"the modifier {type(modifier).__name__} is not read")
        spend(len(steps))
    return steps
