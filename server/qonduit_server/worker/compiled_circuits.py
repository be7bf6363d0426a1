# SPDX-License-Identifier: Apache-2.0
"""The compiled circuit of a program as a result: OpenQASM 3 text, or the reason for its absence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qonduit.execution.v1.task_pb2 import FurtherResult
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import BufferColumn, ColumnKind, Result, ResultType
from qonduit_server.errors import LimitError, ProgramError
from qonduit_server.worker.result_encoding import MESSAGE_BYTES, into_buffer

if TYPE_CHECKING:
    from qonduit_server.ir.circuit import Circuit
    from qonduit_server.worker.preparation import Preparation
    from qonduit_server.worker.prepared_programs import ReadyProgram

_QASM3: Final = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3


def compiled_result(preparation: Preparation, program: ReadyProgram, point: int | None) -> FurtherResult:
    """Return the circuit that the device runs.

    A device with a coupling map runs the circuit of its compiler. Other simulators have no gates of their own, and run
    the program's circuit with its inputs and the noise of the job.

    Args:
        preparation: of the task.
        program: the program.
        point: of the result; None if the program has no points.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    found = FurtherResult()
    result = found.result
    result.MergeFrom(
        Result(
            program_id=preparation.task.programs[program.index].program_id,
            result_type=ResultType.RESULT_TYPE_COMPILED_CIRCUIT,
            point=point,
        )
    )
    result.compiled_circuit.SetInParent()
    preparation.provenance.add(result, program.index)
    try:
        text = _written(preparation, program)
    except ProgramError as error:
        result.meta_data.update({"remark": f"the circuit cannot be written as OpenQASM 3: {error.message}"})
    else:
        found.buffer = _encode(result, text, preparation.task.max_result_bytes)
    return found


def _written(preparation: Preparation, program: ReadyProgram) -> str:
    """Return a compiled circuit as text. Raises ProgramError."""
    circuit: Circuit = program.circuit
    if program.compiled.circuit is not None:
        circuit = program.compiled.circuit()
    elif preparation.device.capabilities.coupling_map:
        raise ProgramError(
            "UNSUPPORTED_CONSTRUCT", f"the compiler of {preparation.device_name} gives gates that OpenQASM 3 has not"
        )
    if circuit.parameters:
        from qonduit_server.ir.parameters import bind

        sets = preparation.spec(program.index).parameter_sets
        circuit = bind(circuit, dict(zip(sets.names, sets.values, strict=False)))
    source = preparation.environment.languages.write(_QASM3, circuit).source
    assert isinstance(source, str)
    return source


def _encode(result: Result, text: str, max_bytes: int) -> bytes:
    """Put a text into a result; return the rows of its buffer, if it is too large for a message."""
    data = text.encode()
    if len(data) <= MESSAGE_BYTES // 2:
        result.compiled_circuit.text = text
        return b""
    if max_bytes and len(data) > max_bytes:
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the compiled circuit has {len(data)} bytes as OpenQASM 3, and a result may have at most {max_bytes} "
            "(max_result_bytes): submit the job without include_compiled_circuit",
        )
    return into_buffer(result, [BufferColumn(name="text", kind=ColumnKind.COLUMN_KIND_UINT, width=1)], data, 1)
