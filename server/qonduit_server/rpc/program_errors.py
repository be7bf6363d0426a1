# SPDX-License-Identifier: Apache-2.0
"""Convert the failure of a program, reported by a worker for a waiting call, to an error of that call."""

from __future__ import annotations

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import Violation

#: Every other language is text.
BINARY_LANGUAGES = frozenset({AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT})


def is_fault_of_program(failure: Failure) -> bool:
    """Return whether the program itself must be changed, independent of server and device."""
    return failure.category == FailureCategory.FAILURE_CATEGORY_PROGRAM or (
        failure.category == FailureCategory.FAILURE_CATEGORY_LIMIT and failure.reason == "TOO_LARGE"
    )


def source_field(program: QuantumProgram) -> str:
    """Return the name of the field that contains a program's source."""
    binary = program.assembler_language in BINARY_LANGUAGES and not program.quantum_circuit
    return "quantum_circuit_binary" if binary else "quantum_circuit"


def violation(failure: Failure, program: QuantumProgram, path: str, inputs: str) -> Violation:
    """Return the violation of an invalid program, with line and column if they are known.

    Args:
        failure: the failure that the worker reported, which is the program's fault.
        program: the program.
        path: the path of its field in the request.
        inputs: the path of the field that contains the values of its inputs.
    """
    message = failure.message
    if failure.line and f"line {failure.line}" not in message:
        column = f", column {failure.column}" if failure.column else ""
        message = f"line {failure.line}{column}: {message}"
    field = f"{path}.{source_field(program)}"
    if failure.reason in ("UNSUPPORTED_LANGUAGE", "PYTHON_SOURCE_DISABLED"):
        field = f"{path}.assembler_language"
    elif failure.reason == "MISSING_INPUT":
        # A worker names the inputs of a job; this request may have them in another field.
        field, message = inputs, message.replace("job.inputs", inputs)
    return Violation(field, f"program.{failure.reason.lower()}", f"{field}: {message}")
