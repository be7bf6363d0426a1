# SPDX-License-Identifier: Apache-2.0
"""Encodes a provider's outcome as a result: entries in the message, or rows in a buffer if the message is too large."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from qonduit.v1.result_pb2 import BufferColumn, BufferReference, ColumnKind, Register, Result, ResultType
from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Circuit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A larger result has its entries in a buffer instead of the message.
MESSAGE_BYTES: Final = 256 * 1024
#: Bytes that the store adds to a message: two ids, and the buffer's name.
_ADDED_BYTES: Final = 64
#: Responses have at most 3 MiB: no result may be larger, with all its names and metadata.
_MOST_BYTES: Final = 3 * 1024**2 - 64 * 1024
#: An entry in each of the two maps, with a count of one byte; add the key twice.
_ENTRY_BYTES: Final = 19
#: The columns of numbers have 8 bytes: uint64 and float64.
_NUMBER_BYTES: Final = 8


def registers_of(circuit: Circuit) -> tuple[Register, ...]:
    """Return a program's registers, in the order of keys."""
    return tuple(Register(name=register.name, size=len(register.bits)) for register in reversed(circuit.registers))


def encode_counts(result: Result, circuit: Circuit, counts: Mapping[int, int], max_bytes: int) -> bytes:
    """Fill in a result's counts and probabilities, or refer to rows.

    Args:
        result: already has shots, registers and metadata.
        circuit: names outcomes; without registers, the result has no entries.
        counts: the count of each outcome; bit k is classical bit k of the IR circuit. Outcomes that differ only in bits
            outside the program's registers are merged.
        max_bytes: maximum size of the rows; 0 means no limit.

    Returns:
        The rows of the result's buffer; empty where the message holds the entries.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    result.result_type = ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES
    member = result.counts_and_probabilities
    member.SetInParent()
    shown = counts if circuit.registers else {}
    widths = [(register.size + 7) // 8 for register in result.registers]
    row_bytes = sum(widths) + _NUMBER_BYTES
    most_rows = max_bytes // row_bytes if max_bytes else None
    named = _named(circuit, shown, most_rows)
    if named is not None:
        shots = result.shots
        entries, probabilities = member.counts, member.probabilities
        for key, number in named.items():
            entries[key] = number
            probabilities[key] = number / shots
        if fits_message(result):
            return b""
        if not named:
            check_message(result)
            return b""
        entries.clear()
        probabilities.clear()
    columns = register_columns(result)
    columns.append(BufferColumn(name="count", kind=ColumnKind.COLUMN_KIND_UINT, width=_NUMBER_BYTES))
    return into_buffer(result, columns, b"".join(_rows(circuit, shown, widths, row_bytes, most_rows)), row_bytes)


def encode_statevector(result: Result, amplitudes: NDArray[np.complex128], max_bytes: int) -> bytes:
    """Fill in a result's statevector, or refer to rows.

    Args:
        result: already has all other fields.
        amplitudes: 2^n amplitudes; bit i of an amplitude's index is qubit i.
        max_bytes: maximum size of the rows; 0 means no limit.

    Returns:
        The rows of the result's buffer; empty where the message holds the amplitudes.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    number = len(amplitudes)
    qubits = number.bit_length() - 1
    check_statevector(qubits, max_bytes)
    result.result_type = ResultType.RESULT_TYPE_STATEVECTOR
    result.statevector.num_qubits = qubits
    row_bytes = 2 * _NUMBER_BYTES
    if result.ByteSize() + number * row_bytes <= MESSAGE_BYTES - _ADDED_BYTES:
        result.statevector.real.extend(amplitudes.real.tolist())
        result.statevector.imaginary.extend(amplitudes.imag.tolist())
        return b""
    columns = number_columns("real", "imaginary")
    # A complex128 is the real part followed by the imaginary part, as in the rows.
    return into_buffer(result, columns, amplitudes.astype(">c16").tobytes(), row_bytes)


def check_statevector(qubits: int, max_bytes: int) -> None:
    """Reject the statevector of too many qubits before it is computed.

    Args:
        max_bytes: maximum size of the rows; 0 means no limit.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    size = 2 * _NUMBER_BYTES << qubits
    if max_bytes and size > max_bytes:
        fits = (max_bytes // (2 * _NUMBER_BYTES)).bit_length() - 1
        advice = f"ask for statevectors of at most {fits} qubits" if fits >= 0 else "do not ask for statevectors"
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the statevector of {qubits} qubits has {_size(size)}, and a result may have at most {max_bytes} bytes "
            f"(max_result_bytes): {advice}",
        )


def _named(circuit: Circuit, counts: Mapping[int, int], most_rows: int | None) -> dict[str, int] | None:
    """Return counts by key; None once they exceed the size of a message."""
    named: dict[str, int] = {}
    size = 0
    for outcome, number in counts.items():
        key = circuit.key(outcome)
        before = named.get(key)
        if before is None:
            if most_rows is not None and len(named) == most_rows:
                return None
            size += 2 * len(key) + _ENTRY_BYTES
            if size > MESSAGE_BYTES:
                return None
            named[key] = number
        else:
            named[key] = before + number
    return named


def _rows(
    circuit: Circuit, counts: Mapping[int, int], widths: list[int], row_bytes: int, most_rows: int | None
) -> Iterable[bytes]:
    """Return rows in ascending order of their columns, which is the order of their bytes."""
    merged: dict[bytes, int] = {}
    for outcome, number in counts.items():
        start = b"".join(
            [value.to_bytes(width, "big") for value, width in zip(circuit.values(outcome), widths, strict=True)]
        )
        before = merged.get(start)
        if before is not None:
            merged[start] = before + number
        elif most_rows is not None and len(merged) == most_rows:
            raise LimitError(
                "RESULT_TOO_LARGE",
                f"the program produced more than {most_rows} different outcomes of {_size(row_bytes)} each, and a "
                "result "
                f"may have at most {most_rows * row_bytes} bytes (max_result_bytes): use fewer shots, or measure fewer "
                "bits",
            )
        else:
            merged[start] = number
    for start in sorted(merged):
        yield start + merged[start].to_bytes(_NUMBER_BYTES, "big")


def fits_message(result: Result) -> bool:
    """Return whether a result with its entries fits into a message, with what the store adds."""
    return result.ByteSize() <= MESSAGE_BYTES - _ADDED_BYTES


def register_columns(result: Result) -> list[BufferColumn]:
    """Return a column for each register of a result, in their order."""
    return [
        BufferColumn(name=register.name, kind=ColumnKind.COLUMN_KIND_UINT, width=(register.size + 7) // 8)
        for register in result.registers
    ]


def number_columns(*names: str) -> list[BufferColumn]:
    """Return columns of float64."""
    return [BufferColumn(name=name, kind=ColumnKind.COLUMN_KIND_FLOAT64, width=_NUMBER_BYTES) for name in names]


def into_buffer(result: Result, columns: list[BufferColumn], rows: bytes, row_bytes: int) -> bytes:
    """Refer to rows in a result; return them. Raises LimitError."""
    reference = BufferReference(
        size_bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest(), rows=len(rows) // row_bytes, columns=columns
    )
    result.buffer.CopyFrom(reference)
    check_message(result)
    return rows


def check_message(result: Result) -> None:
    """Check the size of the message without its entries: mostly the registers' names."""
    size = result.ByteSize()
    if size > _MOST_BYTES:
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the names of the program's {len(result.registers)} registers and its metadata have {_size(size)} in a "
            f"result, which may have at most {_MOST_BYTES} beside its outcomes: use shorter names, or fewer registers",
        )


def _size(size: int) -> str:
    return f"{size} bytes" if size < 1 << 70 else f"2^{size.bit_length() - 1} bytes"
