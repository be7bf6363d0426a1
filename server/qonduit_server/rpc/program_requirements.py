# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a program without reading it: that it declares more qubits than the device has."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
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
#: `qreg q[40];` or `qubit[40] q;`. The name and the semicolon tell a declaration from a subroutine's parameter.
_DECLARATION: Final = r"q(?:reg\s+\w+\s*\[\s*(\d[\d_]*)\s*\]|ubit\s*\[\s*(\d[\d_]*)\s*\]\s*\w+)\s*;"
#: Finds also what is commented out, at places where its first word is found.
_LIKELY: Final = re.compile(_DECLARATION)
_WORDS: Final = ("qreg", "qubit")
_SURE: Final = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\"[^\"\n]*\"|#?\bpragma\b[^\n]*|\b" + _DECLARATION, re.DOTALL)
#: A number of more digits is as good as this one.
_DIGITS: Final = 9
_NAMED: Final = 10
#: The header of a QPY file, as far as the kind of its program; and that of a circuit, as far as its number of qubits.
_QPY_FILE: Final = struct.Struct("!6sB3xQxc")
_QPY_CIRCUIT: Final = struct.Struct("!2xx2xI")
_QPY_SINCE: Final = 13
#: From this version on the places of the circuits stand before the first one.
_QPY_OFFSET_SINCE: Final = 16
_QPY_OFFSET_BYTES: Final = 8
_ABSURD: Final = 4096


def check_qubits(
    db: Database, programs: Sequence[QuantumProgram], path: str, job_type: JobType, device: Device, name: str
) -> None:
    """Refuse OpenQASM and QPY that declare more qubits than a device has; what is not declared as a number may pass.

    Args:
        db: knows the other devices.
        programs: to be run.
        path: of the field that holds them.
        job_type: what is to be done with them.
        device: to run them.
        name: its "PROVIDER/device".

    Raises:
        FailedPrecondition: reason UNSUPPORTED_BY_DEVICE; names line, number, and devices that have enough.
    """
    if not device.num_qubits:
        return
    for index, program in enumerate(programs):
        if program.assembler_language in _LANGUAGES:
            found = too_many(program.quantum_circuit, device.num_qubits)
            if found is not None:
                field, (line, qubits) = f"{path}[{index}].quantum_circuit", found
                _refuse(db, field, f"line {line}: ", qubits, job_type, device, name)
        elif program.quantum_circuit_binary:
            qubits = qpy_qubits(program.quantum_circuit_binary)
            if qubits > device.num_qubits:
                _refuse(db, f"{path}[{index}].quantum_circuit_binary", "", qubits, job_type, device, name)


def _refuse(db: Database, field: str, where: str, qubits: int, job_type: JobType, device: Device, name: str) -> None:
    if qubits > _ABSURD:  # what no device could ever have is no question of devices: the reader says so
        return
    raise unsupported(
        db,
        field,
        "QUBITS",
        f"{field}: {where}the program declares {qubits} qubits, {name} has {device.num_qubits}"
        + (" (as max_task_memory_bytes allows)" if device.is_simulator and device.is_local else ""),
        lambda other: other.num_qubits >= qubits and job_type in other.capabilities.job_types,
        "have enough",
        "has more",
    )


def unsupported(
    db: Database,
    field: str,
    kind: str,
    lack: str,
    is_able: Callable[[Device], bool],
    they: str = "do",
    nobody: str = "does",
) -> FailedPrecondition:
    """Refuse what a device lacks, naming devices that have it: "LACK; these THEY: ...", or "no device ... NOBODY"."""
    others = catalogue.devices_that(db, is_able)
    return FailedPrecondition(
        f"{lack}; "
        + (f"these {they}: {', '.join(others[:_NAMED])}" if others else f"no device of this server {nobody}"),
        subject=field,
        kind=kind,
        reason="UNSUPPORTED_BY_DEVICE",
    )


def too_many(text: str, most: int) -> tuple[int, int] | None:
    """The line (from 1) at which a program declares more qubits than `most`, and how many it declares in all."""
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
    """The qubits of the circuit in a QPY file, by its header; 0 where the file is none, or not of one circuit."""
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
