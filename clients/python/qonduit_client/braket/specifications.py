# SPDX-License-Identifier: Apache-2.0
"""Convert task specifications to OpenQASM programs with their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braket.circuits import Circuit
from braket.circuits.circuit_helpers import validate_circuit_and_shots
from braket.circuits.serialization import IRType, SerializableProgram
from braket.ir.openqasm import Program
from braket.ir.openqasm.program_set_v1 import ProgramSet as OpenQASMProgramSet
from braket.program_sets import ProgramSet


def is_one(specification: object) -> bool:
    """Return whether a value is one specification instead of a list."""
    return isinstance(
        specification, Circuit | Program | SerializableProgram | ProgramSet | OpenQASMProgramSet | str
    ) or not hasattr(specification, "__iter__")


def program_of(specification: Any, inputs: Mapping[str, Any] | None, shots: int) -> Program:
    """Return a circuit or a program as OpenQASM with Braket's pragmas, and the values of its inputs.

    Args:
        specification: a `braket.circuits.Circuit`, a `braket.ir.openqasm.Program`, a `SerializableProgram`, or the
            text of a program.
        inputs: values for its free parameters, in addition to those of a `Program`.
        shots: the number of shots.

    Raises:
        NotImplementedError: the type is not supported.
        ValueError: the circuit has no gates, or its results do not support the number of shots.
    """
    values = dict(inputs or {})
    match specification:
        case Circuit():
            validate_circuit_and_shots(specification, shots)
            made = specification.to_ir(ir_type=IRType.OPENQASM)
            return Program(source=made.source, inputs={**made.inputs, **values})
        case Program() if values:
            return Program(source=_text(specification.source), inputs={**(specification.inputs or {}), **values})
        case Program():
            return Program(source=_text(specification.source), inputs=specification.inputs)
        case SerializableProgram():
            return Program(source=specification.to_ir(ir_type=IRType.OPENQASM), inputs=values)
        case str():
            return Program(source=_text(specification), inputs=values or None)
    raise NotImplementedError(
        f"Unsupported task type {type(specification)}: Qonduit devices run circuits, OpenQASM programs and sets of "
        "them, but no analog Hamiltonians, annealing problems or pulses"
    )


def _text(source: str) -> str:
    """Return the program text; as in Braket, read the file if a file name is passed."""
    return Path(source).read_text() if source.endswith(".qasm") else source
