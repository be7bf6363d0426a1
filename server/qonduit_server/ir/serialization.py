# SPDX-License-Identifier: Apache-2.0
"""Serialization of IR circuits for the translation cache, which reads only bytes that this program wrote."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any, Final

from qonduit_server.ir.circuit import Circuit, ClassicalRegister, contains
from qonduit_server.ir.formula import Formula

if TYPE_CHECKING:
    from collections.abc import Sequence


_LENGTH: Final = struct.Struct(">I")


def dump(circuit: Circuit) -> bytes | None:
    """Serialize a circuit: the header's length, the header as JSON, the circuit as QPY.

    The header has the registers, warnings, lines, names of qubits and parameters.

    Returns:
        The bytes; None for the few circuits that QPY (of Qiskit 2.6) does not keep: with loops, whose conditions come
        back about other bits, with noise, and with conditions on numbers of more than 63 bits.
    """
    from qiskit import qpy
    from qiskit.circuit import WhileLoopOp

    from qonduit_server.ir.noise import NOISE

    if contains(circuit.quantum, {"while_loop": WhileLoopOp, **NOISE}):
        return None
    registers = [[each.name, [_entry(bit) for bit in each.bits]] for each in circuit.registers]
    header = {
        "registers": registers,
        "warnings": circuit.warnings,
        "lines": dict(circuit.lines),
        "qubit_names": circuit.qubit_names,
        "parameters": circuit.parameters,
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    out = io.BytesIO()
    try:
        qpy.dump(circuit.quantum, out)
    except qpy.QpyError:
        return None
    return b"".join((_LENGTH.pack(len(head)), head, out.getvalue()))


def load(data: bytes) -> Circuit:
    """Deserialize the bytes of `dump`."""
    from qiskit import qpy

    (length,) = _LENGTH.unpack_from(data)
    end = _LENGTH.size + length
    head = json.loads(data[_LENGTH.size : end])
    (quantum,) = qpy.load(io.BytesIO(data[end:]))
    registers = tuple(ClassicalRegister(name, tuple(_bit(entry) for entry in bits)) for name, bits in head["registers"])
    return Circuit(
        quantum,
        registers,
        tuple(head["warnings"]),
        head["lines"],
        tuple(head["qubit_names"]),
        tuple(head["parameters"]),
    )


def _entry(bit: int | Formula) -> int | list[Any]:
    """Return a bit of a register: a number, or the formula as [kind, number, *parts]."""
    return bit if isinstance(bit, int) else [bit.kind, bit.number, *(_entry(part) for part in bit.parts)]


def _bit(entry: int | list[Any]) -> int | Formula:
    return entry if isinstance(entry, int) else _formula(entry)


def _formula(entry: Sequence[Any]) -> Formula:
    kind, number, *parts = entry
    return Formula(kind, number, tuple(_formula(part) for part in parts))
