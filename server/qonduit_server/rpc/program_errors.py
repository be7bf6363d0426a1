# SPDX-License-Identifier: Apache-2.0
"""How failures of programs that a worker read for a waiting call become errors of that call."""

from __future__ import annotations

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import Violation

#: Every other language is text.
BINARY_LANGUAGES = frozenset({AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT})


def is_fault_of_program(failure: Failure) -> bool:
    """Return whether the program must be changed, whatever server or device it is sent to."""
    return failure.category == FailureCategory.FAILURE_CATEGORY_PROGRAM or (
        failure.category == FailureCategory.FAILURE_CATEGORY_LIMIT and failure.reason == "TOO_LARGE"
    )


def source_field(program: QuantumProgram) -> str:
    """Return the name of the field that holds a program's source."""
    binary = program.assembler_language in BINARY_LANGUAGES and not program.quantum_circuit
    return "quantum_circuit_binary" if binary else "quantum_circuit"


def violation(failure: Failure, program: QuantumProgram, path: str, inputs: str) -> Violation:
    """Return the rule that a program breaks, with line and column where they are known.

    Args:
        failure: what the worker reported; the program's fault.
        program: the program.
        path: the path of its field in the request.
        inputs: the path of the field that holds the values for its inputs.
    """
    message = failure.message
    if failure.line and f"line {failure.line}" not in message:
        column = f", column {failure.column}" if failure.column else ""
        message = f"line {failure.line}{column}: {message}"
    field = f"{path}.{source_field(program)}"
    if failure.reason in ("UNSUPPORTED_LANGUAGE", "PYTHON_SOURCE_DISABLED"):
        field = f"{path}.assembler_language"
    elif failure.reason == "MISSING_INPUT":
        # A worker knows the inputs of a job; they may stand elsewhere in this request.
        field, message = inputs, message.replace("job.inputs", inputs)
    return Violation(field, f"program.{failure.reason.lower()}", f"{field}: {message}")
