# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 3 read into the hub."""

from __future__ import annotations

from qiskit_qasm3_import import ConversionError, parse

from qonduit_server.circuit import Circuit, ClassicalRegister
from qonduit_server.errors import ProgramError
from qonduit_server.languages.source import check_language, check_nesting, without_comments


def read(text: str) -> Circuit:
    """Read an OpenQASM 3 program."""
    code = without_comments(text)
    check_language(code, version=3)
    check_nesting(code)
    try:
        quantum = parse(text)
    except ConversionError as error:
        raise ProgramError("SYNTAX_ERROR", str(error)) from error
    index = {clbit: number for number, clbit in enumerate(quantum.clbits)}
    return Circuit(
        quantum, tuple(ClassicalRegister(each.name, tuple(index[clbit] for clbit in each)) for each in quantum.cregs)
    )
