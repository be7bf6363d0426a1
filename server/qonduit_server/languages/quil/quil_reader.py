# SPDX-License-Identifier: Apache-2.0
"""Reader of Quil (the specification at 2024.1, with pyQuil's gates), by Rigetti's parser."""

from __future__ import annotations

import re
from typing import Final

from quil import QuilError
from quil.program import Program

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.quil.classical_memory import Memory
from qonduit_server.languages.quil.execution import Execution
from qonduit_server.languages.quil.gate_definitions import DISPUTED, Gates
from qonduit_server.languages.quil.instruction_list import GateCall, Measured, Operations
from qonduit_server.languages.quil.preprocessing import Prepared, prepare
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs

_PLACED: Final = re.compile(r"\bat line (\d+), column (\d+) ?(?:\([^\n]*?\))?: (.*)$", re.DOTALL)


def read(source: str, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a Quil program.

    Args:
        inputs: values for declared memory, by name: a number, or a list for more than one element.
        gate_names: gates and circuits that are kept whole where the program defines them.

    Raises:
        ProgramError: with the line if known.
    """
    prepared = prepare(source)
    program = _parsed(prepared)
    if set(program.circuits) & set(program.gate_definitions):
        raise ProgramError("SYNTAX_ERROR", "a gate and a circuit have the same name")
    order = {name: place for place, name in enumerate(prepared.declared)}
    declarations = sorted(program.declarations.values(), key=lambda each: order.get(each.name, len(order)))
    memory = Memory(declarations, inputs)
    operations = Operations(memory, program.circuits, prepared.references, gate_names)
    operations.read(program.body_instructions, prepared.statements)
    warnings = [*unused(inputs, memory.names), *operations.warnings, *_calibrated(program, operations)]
    used = {each.name for each in operations.done if isinstance(each, GateCall)}
    warnings += [text for name, text in DISPUTED.items() if name in used - set(program.gate_definitions)]
    warnings += operations.unused_noise()
    gates = Gates(program.gate_definitions, gate_names)
    execution = Execution(operations.done, operations.lines, memory, gates, operations.noise)
    execution.run()
    registers = tuple(ClassicalRegister(each.name, memory.shown(each)) for each in memory.registers())
    return Circuit(execution.builder.finish(), registers, tuple(warnings))


def _parsed(prepared: Prepared) -> Program:
    try:
        return Program.parse(prepared.code)
    except QuilError as error:
        raise _refusal(str(error), prepared) from None
    except BaseException as error:
        # A panic of the parser's Rust code is a BaseException, not an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ProgramError("SYNTAX_ERROR", "the parser failed on this program; check its numbers and signs") from error


def _refusal(message: str, prepared: Prepared) -> ProgramError:
    """Return the parser's message, with its location in the program."""
    match = _PLACED.search(message)
    if match is None or not 0 < int(match[1]) <= len(prepared.lines):
        return ProgramError("SYNTAX_ERROR", _shortened(message))
    line, unchanged = prepared.lines[int(match[1]) - 1]
    column = int(match[2]) if unchanged else 1
    return ProgramError("SYNTAX_ERROR", f"line {line}: {_shortened(match[3])}", line=line, column=column)


def _shortened(message: str) -> str:
    return message if len(message) < 200 else message[:200] + "..."


def _calibrated(program: Program, operations: Operations) -> list[str]:
    """Return the warnings about pulses. Gates run by their definitions, so calibrations must not redefine used gates.

    Raises:
        ProgramError: a calibration redefines a gate or measurement that the program uses.
    """
    calibrations = program.calibrations
    gates = {each.name for each in calibrations.calibrations}
    used = gates & {each.name for each in operations.done if isinstance(each, GateCall)}
    measures = any(isinstance(each, Measured) for each in operations.done)
    if used or (measures and calibrations.measure_calibrations):
        what = f"the gate {min(used)!r}" if used else "MEASURE"
        message = (
            f"DEFCAL makes {what} of pulses, which are not simulated: remove the DEFCAL to run the standard definition"
        )
        raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
    if len(calibrations) or program.waveforms or not program.frames.is_empty():
        return ["calibrations, frames and waveforms are ignored: pulses are not simulated"]
    return []
