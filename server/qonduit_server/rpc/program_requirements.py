# SPDX-License-Identifier: Apache-2.0
"""Detect programs that declare more qubits than the device has, without parsing them."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.capabilities import Requirements, compatible_devices, list_devices, max_qubits
from qonduit_server.errors import FailedPrecondition
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database

_LANGUAGES: Final = frozenset(
    (
        AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
        AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3,
        AssemblerLanguage.ASSEMBLER_LANGUAGE_BRAKET,
    )
)
#: `qreg q[40];` or `qubit[40] q;`. The name and the semicolon distinguish a declaration from a subroutine parameter.
_DECLARATION: Final = r"q(?:reg\s+\w+\s*\[\s*(\d[\d_]*)\s*\]|ubit\s*\[\s*(\d[\d_]*)\s*\]\s*\w+)\s*;"
#: Matched where the first word of a declaration is found; it also matches declarations in comments.
_LIKELY: Final = re.compile(_DECLARATION)
_WORDS: Final = ("qreg", "qubit")
_SURE: Final = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\"[^\"\n]*\"|#?\bpragma\b[^\n]*|\b" + _DECLARATION, re.DOTALL)
#: A number with more digits is replaced by 10**_DIGITS.
_DIGITS: Final = 9
#: The header of a QPY file up to the kind of its program, and the header of a circuit up to its number of qubits.
_QPY_FILE: Final = struct.Struct("!6sB3xQxc")
_QPY_CIRCUIT: Final = struct.Struct("!2xx2xI")
_QPY_SINCE: Final = 13
#: From this version on, a table of circuit offsets precedes the first circuit.
_QPY_OFFSET_SINCE: Final = 16
_QPY_OFFSET_BYTES: Final = 8
_ABSURD: Final = 4096


def check_qubits(
    db: Database,
    programs: Sequence[QuantumProgram],
    path: str,
    requirements: Requirements,
    device: Device,
    name: str,
) -> None:
    """Reject OpenQASM and QPY programs that declare more qubits than a device has.

    The check accepts declarations whose size is not a number.

    Args:
        db: the database with the device catalogue.
        programs: the programs to run.
        path: the field that contains the programs.
        requirements: the requirements of the job that do not depend on its programs.
        device: the device to run the programs.
        name: the device as "PROVIDER/device".

    Raises:
        FailedPrecondition: reason UNSUPPORTED_BY_DEVICE; contains the line, the number and compatible devices.
    """
    most = max_qubits(device, requirements)
    if not most:
        return
    for index, program in enumerate(programs):
        if program.assembler_language in _LANGUAGES:
            found = find_excess_qubits(program.quantum_circuit, most)
            if found is None:
                continue
            field, (line, qubits) = f"{path}[{index}].quantum_circuit", found
            where = f"line {line}: "
        else:
            field, qubits = f"{path}[{index}].quantum_circuit_binary", qpy_qubits(program.quantum_circuit_binary)
            where = ""
        # The parser rejects numbers above _ABSURD.
        if most < qubits <= _ABSURD:
            why = " (as max_task_memory_bytes allows)" if device.is_simulator and device.is_local else ""
            raise unsupported(
                db,
                field,
                "QUBITS",
                f"{where}the program declares {qubits} qubits, {name} has {most}{why}",
                replace(requirements, program=ProgramNeeds(num_qubits=qubits, noise=requirements.program.noise)),
            )


def unsupported(
    db: Database,
    field: str,
    kind: str,
    message: str,
    requirements: Requirements,
    *,
    exclude_id: int = 0,
) -> FailedPrecondition:
    """Return the error for a job whose device lacks a feature, with the devices that meet its known requirements.

    Args:
        db: the database with the device catalogue.
        field: the field of the request.
        kind: the kind of the precondition.
        message: the missing feature.
        requirements: the known requirements of the job.
        exclude_id: as for `compatible_devices`.
    """
    compatible = compatible_devices(catalogue.devices_by_name(db), requirements, exclude_id)
    return FailedPrecondition(
        f"{field}: {message}; {list_devices(compatible)}",
        subject=field,
        kind=kind,
        reason="UNSUPPORTED_BY_DEVICE",
    )


def find_excess_qubits(text: str, most: int) -> tuple[int, int] | None:
    """Return the line (from 1) at which a program exceeds `most` declared qubits, and its total number of qubits."""
    total, place = 0, -1
    for word in _WORDS:
        start = text.find(word)
        while start >= 0:
            likely = _LIKELY.match(text, start)
            if likely:
                total += _number(likely.group(1) or "", likely.group(2) or "")
            start = text.find(word, start + 4)
    if total <= most:
        return None
    total = 0
    for match in _SURE.finditer(text):
        if match.lastindex:
            total += _number(match.group(1) or "", match.group(2) or "")
            if total > most and place < 0:
                place = match.start()
    return None if place < 0 else (text.count("\n", 0, place) + 1, total)


def qpy_qubits(data: bytes) -> int:
    """Return the qubits of the circuit in a QPY file, from its header; 0 if the file is not QPY with one circuit."""
    try:
        magic, version, programs, kind = _QPY_FILE.unpack_from(data)
        start = _QPY_FILE.size + (_QPY_OFFSET_BYTES if version >= _QPY_OFFSET_SINCE else 0)
        (qubits,) = _QPY_CIRCUIT.unpack_from(data, start)
    except struct.error:
        return 0
    return int(qubits) if magic == b"QISKIT" and version >= _QPY_SINCE and (programs, kind) == (1, b"q") else 0


def _number(register: str, array: str) -> int:
    digits = (register or array).replace("_", "").lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
