# SPDX-License-Identifier: Apache-2.0
"""Channels as Braket's noise pragmas. Braket's probabilities are those of an error, unlike the IR's."""

from __future__ import annotations

from collections.abc import Sequence

from qonduit_server.errors import ProgramError
from qonduit_server.ir.noise import Channel, error_share

#: As in Braket: Kraus operators act on one or two qubits.
_MAX_QUBITS = 2


def pragma(channel: Channel, operands: Sequence[str]) -> str:
    """Return a channel as the line of its pragma.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, it acts on more qubits than Braket's noise.
    """
    if channel.num_qubits > _MAX_QUBITS:
        raise _refusal(f"a channel on {channel.num_qubits} qubits: Braket's noise acts on one or two")
    named = _named(channel)
    if named is not None:
        return f"#pragma braket noise {named} {', '.join(operands)}"
    if len(channel.kraus) > 4**channel.num_qubits:
        raise _refusal(f"a channel of {len(channel.kraus)} Kraus operators: Braket has at most {4**channel.num_qubits}")
    # Braket's first qubit is the highest bit of a matrix.
    matrices = ", ".join(_matrix(each.tolist()) for each in channel.kraus)
    return f"#pragma braket noise kraus({matrices}) {', '.join(reversed(operands))}"


def _refusal(what: str) -> ProgramError:
    return ProgramError("UNSUPPORTED_CONSTRUCT", f"Braket's OpenQASM cannot express {what}")


def _named(channel: Channel) -> str | None:
    values = channel.values
    size = channel.num_qubits
    match channel.kind:
        case "bit_flip" | "phase_flip" | "amplitude_damping" | "phase_damping":
            return f"{channel.kind}({float(values[0])!r})"
        case "generalized_amplitude_damping":
            return f"{channel.kind}({float(values[0])!r}, {1 - float(values[1])!r})"
        case "depolarizing" if values[0] <= 1:
            name = "depolarizing" if size == 1 else "two_qubit_depolarizing"
            return f"{name}({float(values[0]) * error_share(size)!r})"
        case "pauli" if size == 1 and channel.paulis is not None:
            return f"pauli_channel({', '.join(repr(float(channel.paulis.get(each, 0.0))) for each in 'XYZ')})"
    return None


def _matrix(rows: Sequence[Sequence[complex]]) -> str:
    return "[" + ", ".join("[" + ", ".join(_number(each) for each in row) + "]" for row in rows) + "]"


def _number(value: complex) -> str:
    sign = "-" if value.imag < 0 else "+"
    return f"{float(value.real)!r} {sign} {abs(float(value.imag))!r}im" if value.imag else repr(float(value.real))
