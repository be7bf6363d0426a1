# SPDX-License-Identifier: Apache-2.0
"""Braket's noise pragmas (`#pragma braket noise NAME(...) qubits`) as channels of the IR.

Braket's probabilities are those of an error: depolarizing(p) applies X, Y or Z with p/3 each, where the IR's p is that
of the maximally mixed state. So Braket's p is 3/4 of the IR's on one qubit, and 15/16 on two (Noise.to_matrix of the
SDK 1.127). Braket's generalized_amplitude_damping(gamma, p) relaxes to |0> with p, where the IR names the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.noise import Channel

NOISE: Final = re.compile(r"\s*noise\s+(\w+)\s*\((.*)\)\s*([^)]*)", re.DOTALL)


@dataclass(frozen=True)
class _Kind:
    """A pragma: how many probabilities it takes, on how many qubits it acts, and the channel."""

    numbers: int
    qubits: int
    make: Callable[..., Channel]


def _depolarizing(qubits: int) -> Callable[[float], Channel]:
    return lambda probability: noise.depolarizing(probability / noise.error_share(qubits), qubits)


def _two_qubit_dephasing(probability: float) -> Channel:
    return noise.pauli(dict.fromkeys(("IZ", "ZI", "ZZ"), probability / 3))


_KINDS: Final[dict[str, _Kind]] = {
    "bit_flip": _Kind(1, 1, noise.bit_flip),
    "phase_flip": _Kind(1, 1, noise.phase_flip),
    "pauli_channel": _Kind(3, 1, lambda x, y, z: noise.pauli({"X": x, "Y": y, "Z": z})),
    "depolarizing": _Kind(1, 1, _depolarizing(1)),
    "two_qubit_depolarizing": _Kind(1, 2, _depolarizing(2)),
    "two_qubit_dephasing": _Kind(1, 2, _two_qubit_dephasing),
    "amplitude_damping": _Kind(1, 1, noise.amplitude_damping),
    "generalized_amplitude_damping": _Kind(
        2, 1, lambda gamma, ground: noise.generalized_amplitude_damping(gamma, 1 - ground)
    ),
    "phase_damping": _Kind(1, 1, noise.phase_damping),
}
KNOWN: Final = (*_KINDS, "kraus")


def channel(name: str, numbers: Sequence[float], qubits: int) -> Channel:
    """Return the channel of a pragma, other than kraus, on so many qubits.

    Raises:
        ProgramError: there is no such noise, or it takes other numbers or qubits.
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise ProgramError("UNSUPPORTED_CONSTRUCT", f"the noise {name!r} is not one of {', '.join(KNOWN)}")
    if len(numbers) != kind.numbers or qubits != kind.qubits:
        raise ProgramError(
            "SYNTAX_ERROR",
            f"the noise {name!r} takes {kind.numbers} probabilities and {kind.qubits} qubits, "
            f"got {len(numbers)} and {qubits}",
        )
    _check(name, numbers)
    return kind.make(*numbers)


def _check(name: str, numbers: Sequence[float]) -> None:
    """Refuse what is no probability by Braket's own number: the channel knows another one."""
    for each in numbers:
        if not 0 <= each <= 1:
            raise ProgramError("INVALID_NOISE", f"a probability of {name} must be between 0 and 1, got {each}")


def kraus(matrices: Sequence[Sequence[Sequence[complex]]], qubits: int) -> Channel:
    """Return the channel of Kraus operators; the pragma's first qubit is the highest bit, so pass qubits reversed."""
    if not matrices or any(len(matrix) != 1 << qubits for matrix in matrices):
        raise ProgramError("SYNTAX_ERROR", f"Kraus operators on {qubits} qubits have {1 << qubits} rows")
    return noise.kraus(matrices)
