# SPDX-License-Identifier: Apache-2.0
"""Which of PennyLane's operations travel as they are, and the statements of OpenQASM that say them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from itertools import groupby
from typing import Any, Final, NamedTuple

from pennylane import Identity
from pennylane import math as qml_math
from pennylane.devices.preprocess import decompose, null_postprocessing
from pennylane.exceptions import DeviceError
from pennylane.operation import Channel
from pennylane.ops import Conditional, Controlled, MidMeasure
from pennylane.transforms import transform
from pennylane.wires import Wires

#: PennyLane's names of gates, and theirs in OpenQASM 2 and 3 alike. The gates are the same with their phases, as the
#: server reads them, so that exact states are, too.
GATES: Final = {
    "PauliX": "x",
    "PauliY": "y",
    "PauliZ": "z",
    "Hadamard": "h",
    "S": "s",
    "Adjoint(S)": "sdg",
    "T": "t",
    "Adjoint(T)": "tdg",
    "SX": "sx",
    "Adjoint(SX)": "sxdg",
    "RX": "rx",
    "RY": "ry",
    "RZ": "rz",
    "PhaseShift": "p",
    "U1": "p",
    "U3": "u",
    "CNOT": "cx",
    "CY": "cy",
    "CZ": "cz",
    "CH": "ch",
    "SWAP": "swap",
    "CRX": "crx",
    "CRY": "cry",
    "CRZ": "crz",
    "ControlledPhaseShift": "cp",
    "IsingXX": "rxx",
    "IsingYY": "ryy",
    "IsingZZ": "rzz",
    "Toffoli": "ccx",
    "CSWAP": "cswap",
}
#: The operation that replaces the state of its wires by a density matrix.
DENSITY_MATRIX: Final = "QubitDensityMatrix"
#: What does nothing to a state.
NOTHING: Final = frozenset({"Identity", "Barrier", "Snapshot", "WireCut"})
#: What else has a name of its own, for PennyLane's search for decompositions.
_OTHERS: Final = {"GlobalPhase", "QubitUnitary", "MultiControlledX", "MidMeasureMP"}
_TARGETS: Final = GATES.keys() | NOTHING | _OTHERS | {f"C({name})" for name in (*GATES, "GlobalPhase")}
#: Wires of a matrix that travels as it is: 4,096 entries.
_MAX_MATRIX_WIRES: Final = 6
#: As many as the server has for a channel.
_MAX_CHANNEL_WIRES: Final = 4


class Dialect(IntEnum):
    """The languages of programs, in the order of what they can say; the first is read the quickest."""

    QASM2 = 2
    QASM3 = 3
    BRAKET = 4


#: Stands in the text of a statement for the next of its angles.
ANGLE: Final = "\0"


class Statement(NamedTuple):
    """A statement, the least that has it, and the angles that stand for each `ANGLE` in its text."""

    text: str
    dialect: Dialect = Dialect.QASM2
    angles: tuple[float, ...] = ()


@transform  # type: ignore[untyped-decorator]
def decomposed(tape: Any, device_wires: Any = None, name: str = "qonduit") -> Any:
    """Return a tape in operations that can be sent; already so, the tape itself.

    Args:
        tape: any tape; a device's mid-circuit measurements are kept.
        device_wires: wires that decompositions may work on.
        name: of the device, for messages.

    Raises:
        DeviceError: an operation has neither a decomposition nor a small matrix, or a channel has a condition.
    """
    accepts = travels
    if conditional := [op.base for op in tape.operations if isinstance(op, Conditional)]:
        accepts = _travels_beside_conditions
        if channel := next((base for base in conditional if is_channel(base)), None):
            raise DeviceError(f"{name} does not support {channel.name} under a condition: apply it without one")
    if all(accepts(op) for op in tape.operations):
        return (tape,), null_postprocessing
    (done,), finish = decompose(
        tape,
        stopping_condition=accepts,
        skip_initial_state_prep=False,
        device_wires=device_wires,
        target_gates=_TARGETS,
        name=name,
    )
    if done.wires != tape.wires:  # a decomposition leaves out wires that it does nothing to, or comes to them later
        wires = Wires.all_wires([op.wires for op in tape.operations])
        done = done.copy(operations=[Identity(wires), *done.operations])
    return (done,), finish


def travels(op: Any) -> bool:
    """Whether there are statements for an operation."""
    return _travels_conditionally(op) or is_channel(op) or _is_matrix(op)


def _travels_conditionally(op: Any) -> bool:
    """Whether there are statements for it that may be in a block, where pragmas may not."""
    if isinstance(op, Conditional):
        return _travels_conditionally(op.base)
    if op.name in GATES or op.name in NOTHING or op.name == "GlobalPhase" or isinstance(op, MidMeasure):
        return True
    if op.name in ("Allocate", "Deallocate"):  # resolved later
        return True
    return _is_controlled(op) or projected(op) is not None


def _is_controlled(op: Any) -> bool:
    return isinstance(op, Controlled) and (op.base.name in GATES or op.base.name == "GlobalPhase")


def _travels_beside_conditions(op: Any) -> bool:
    return _travels_conditionally(op) or is_channel(op)


def is_channel(op: Any) -> bool:
    """Return whether an operation is a channel that travels; the preparation of a density matrix is one, too."""
    return (isinstance(op, Channel) or op.name == DENSITY_MATRIX) and 0 < len(op.wires) <= _MAX_CHANNEL_WIRES


def _is_matrix(op: Any) -> bool:
    if len(op.wires) > _MAX_MATRIX_WIRES or isinstance(op, MidMeasure | Conditional):
        return False
    whole = op.base if isinstance(op, Controlled) else op
    if whole.name == "QubitUnitary":
        return len(op.wires) > 1
    return bool(op.wires) and not op.has_decomposition and bool(op.has_matrix)


def projected(op: Any) -> list[int] | None:
    """Return the values that a projector onto a basis state selects; None for all else."""
    if op.name != "Projector" or len(op.wires) == 0:
        return None
    state = qml_math.toarray(op.parameters[0])
    return [int(bit) for bit in state] if state.shape == (len(op.wires),) else None


def statement(op: Any, qubits: Sequence[int]) -> Statement | None:
    """Return the statement of a gate; None for a gate that changes only the phase of a state.

    Args:
        op: an operation that `travels`, and is neither measurement nor condition nor projector nor channel.
        qubits: where its wires are.

    Raises:
        DeviceError: a parameter is no finite number.
    """
    if op.name in NOTHING or op.name == "GlobalPhase":
        return None
    if name := GATES.get(op.name):
        return Statement(f"{name}{_places(op)} {operands(qubits)};", angles=_angles(op))
    if _is_controlled(op):
        return _controlled(op, qubits)
    return unitary_statement(op.matrix(), qubits)


def unitary_statement(matrix: Any, qubits: Sequence[int]) -> Statement:
    """Return the statement of a unitary; its first qubit is the highest bit of rows and columns."""
    return Statement(f"#pragma braket unitary({matrix_text(matrix)}) {operands(qubits)}", Dialect.BRAKET)


def _controlled(op: Any, qubits: Sequence[int]) -> Statement:
    modifiers = ""
    for value, several in groupby(op.control_values, bool):
        number = len(list(several))
        modifiers += ("ctrl" if value else "negctrl") + (f"({number}) @ " if number > 1 else " @ ")
    base = op.base
    if base.name == "GlobalPhase":  # exp(-i angle) in PennyLane; has no operands in OpenQASM, and any in PennyLane
        controls = operands(qubits[: len(op.control_wires)])
        return Statement(f"{modifiers}gphase(-({ANGLE})) {controls};", Dialect.QASM3, _angles(base))
    text = f"{modifiers}{GATES[base.name]}{_places(base)} {operands(qubits)};"
    return Statement(text, Dialect.QASM3, _angles(base))


def operands(qubits: Sequence[int]) -> str:
    """Return the operands of a statement."""
    return ",".join(f"q[{qubit}]" for qubit in qubits)


def _places(op: Any) -> str:
    return f"({','.join(ANGLE for _ in op.parameters)})" if op.parameters else ""


def _angles(op: Any) -> tuple[float, ...]:
    return tuple(number_of(each, op) for each in op.parameters)


def number_of(value: Any, op: Any) -> float:
    """Return a parameter of an operation; raise DeviceError unless it is a finite number."""
    number = float(value)
    if not math.isfinite(number):
        raise DeviceError(f"a parameter of {op.name} is {number}: parameters are finite numbers")
    return number


def matrix_text(matrix: Any) -> str:
    """Return the rows of a matrix; the first wire is the highest bit of both, in PennyLane and Braket alike."""
    rows = ("[" + ", ".join(map(_complex, row)) + "]" for row in qml_math.toarray(matrix).tolist())
    return "[" + ", ".join(rows) + "]"


def _complex(value: complex) -> str:
    value = complex(value)
    return f"{value.real!r} {'-' if math.copysign(1, value.imag) < 0 else '+'} {abs(value.imag)!r}im"
