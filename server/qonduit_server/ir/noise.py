# SPDX-License-Identifier: Apache-2.0
"""Noise as operations of the IR: quantum channels on qubits, and readout errors on measured bits.

Matrices follow the IR's convention: bit k of the index of a row or column is the operation's qubit k. A Pauli string
has one letter for each qubit, and its last letter is that of qubit 0.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, QuantumCircuit

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import contains

#: Channels on more qubits are rejected: one of n qubits may have 4^n Kraus operators of 4^n entries.
MAX_CHANNEL_QUBITS: Final = 4
#: How far the sum of K^dagger K may be from the identity, and a sum of probabilities above 1.
TOLERANCE: Final = 1e-8
#: How far a matrix may be from a Pauli string that it is taken for.
_ROUNDING: Final = 1e-12
#: The names of the two kinds of instruction.
CHANNEL: Final = "channel"
READOUT_ERROR: Final = "readout_error"

_PAULIS: Final[dict[str, NDArray[np.complex128]]] = {
    "I": np.eye(2, dtype=np.complex128),
    "X": np.array([[0, 1], [1, 0]], dtype=np.complex128),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=np.complex128),
    "Z": np.array([[1, 0], [0, -1]], dtype=np.complex128),
}


class Channel(Instruction):  # type: ignore[misc]
    """A quantum channel: rho -> sum of K rho K^dagger.

    Args:
        qubits: how many qubits it acts on.
        kraus: the Kraus operators, each 2^qubits x 2^qubits; computed from `paulis` if those are given instead.
        paulis: the probabilities of Pauli strings, if the channel is a mixture of these. They add up to 1.
        kind: the name of a known channel ("bit_flip", a field of NoiseChannel) for languages that have it too.
        values: the numbers of the known channel, in the order of its fields.
        gate: the name of the gate that it stands for, which a noise model may mention; "" for noise alone.
    """

    def __init__(
        self,
        qubits: int,
        kraus: Sequence[NDArray[np.complex128]] = (),
        paulis: Mapping[str, float] | None = None,
        kind: str = "kraus",
        values: Sequence[float] = (),
        gate: str = "",
    ) -> None:
        super().__init__(CHANNEL, qubits, 0, [])
        self._kraus = tuple(kraus)
        self.paulis = paulis
        self.kind = kind
        self.values = tuple(values)
        self.gate = gate

    def replacing(self, gate: str) -> Channel:
        """Return the same channel in place of a gate, by its name."""
        return Channel(self.num_qubits, self._kraus, self.paulis, self.kind, self.values, gate)

    @cached_property
    def kraus(self) -> tuple[NDArray[np.complex128], ...]:
        """The Kraus operators."""
        if self._kraus or self.paulis is None:
            return self._kraus
        return tuple(math.sqrt(p) * pauli_matrix(label) for label, p in self.paulis.items() if p > 0)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same Kraus operators in the same order."""
        return (
            isinstance(other, Channel)
            and self.num_qubits == other.num_qubits
            and len(self.kraus) == len(other.kraus)
            and all(np.allclose(mine, its) for mine, its in zip(self.kraus, other.kraus, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


class ReadoutError(Instruction):  # type: ignore[misc]
    """A classical error on one classical bit: the bit is recorded wrongly with a probability that depends on it.

    Args:
        prob_1_given_0: the probability that 0 becomes 1.
        prob_0_given_1: the probability that 1 becomes 0.
    """

    def __init__(self, prob_1_given_0: float, prob_0_given_1: float) -> None:
        for value in (prob_1_given_0, prob_0_given_1):
            _check(value, "the probability of a readout error", 1.0)
        super().__init__(READOUT_ERROR, 0, 1, [float(prob_1_given_0), float(prob_0_given_1)])

    @property
    def prob_1_given_0(self) -> float:
        """The probability that 0 becomes 1."""
        return float(self.params[0])

    @property
    def prob_0_given_1(self) -> float:
        """The probability that 1 becomes 0."""
        return float(self.params[1])


#: For `circuit.contains`.
_CHANNELS: Final = {CHANNEL: Channel}
NOISE: Final = {CHANNEL: Channel, READOUT_ERROR: ReadoutError}


def record(distribution: NDArray[np.float64], place: int, error: ReadoutError) -> None:
    """Change a distribution over bits as a readout error of one bit does, in place.

    Args:
        distribution: the probability of each outcome; bit k of its index is bit k.
        place: the bit.
        error: of the bit.
    """
    halves = distribution.reshape(-1, 2, 1 << place)
    zero, one = halves[:, 0].copy(), halves[:, 1].copy()
    up, down = error.prob_1_given_0, error.prob_0_given_1
    halves[:, 0] = (1 - up) * zero + down * one
    halves[:, 1] = up * zero + (1 - down) * one


def successive(errors: Sequence[ReadoutError]) -> tuple[float, float]:
    """Return the probabilities of errors of one bit, one after the other: that 0 becomes 1, and that 1 becomes 0."""
    up = down = 0.0
    for each in errors:
        kept_0, kept_1 = 1 - each.prob_1_given_0, 1 - each.prob_0_given_1
        up, down = (
            (1 - up) * each.prob_1_given_0 + up * kept_1,
            (1 - down) * each.prob_0_given_1 + down * kept_0,
        )
    return up, down


def has_channels(quantum: QuantumCircuit) -> bool:
    """Return whether a circuit has channels, in blocks of control flow too."""
    return contains(quantum, _CHANNELS)


def has_noise(quantum: QuantumCircuit) -> bool:
    """Return whether a circuit has channels or readout errors, in blocks of control flow too."""
    return contains(quantum, NOISE)


def pauli_matrix(label: str) -> NDArray[np.complex128]:
    """Return the matrix of a Pauli string, whose last letter is that of qubit 0."""
    matrix: NDArray[np.complex128] = np.ones((1, 1), dtype=np.complex128)
    for letter in label:
        matrix = np.kron(matrix, _PAULIS[letter])
    return matrix


def depolarizing(probability: float, qubits: int = 1) -> Channel:
    """Return rho -> (1 - p) rho + p I/2^n. Raises ProgramError beyond 0 <= p <= 4^n/(4^n - 1)."""
    _check_qubits(qubits)
    number: int = 4**qubits
    _check(probability, f"the probability of depolarizing on {qubits} qubits", number / (number - 1))
    labels = ["".join(letters) for letters in product("IXYZ", repeat=qubits)]
    paulis = dict.fromkeys(labels, probability / number)
    paulis[labels[0]] = max(0.0, 1 - probability * (number - 1) / number)
    return Channel(qubits, paulis=paulis, kind="depolarizing", values=(probability,))


def error_share(qubits: int) -> float:
    """Return the probability of an error in complete depolarizing: of any Pauli string but the identity.

    Cirq and Braket give depolarizing by the probability of an error, the IR by that of the maximally mixed state.
    """
    return 1 - 1 / float(4**qubits)


def bit_flip(probability: float) -> Channel:
    """Return X with a probability."""
    return _flip("bit_flip", "X", probability)


def phase_flip(probability: float) -> Channel:
    """Return Z with a probability."""
    return _flip("phase_flip", "Z", probability)


def amplitude_damping(probability: float) -> Channel:
    """Return the relaxation from |1> to |0> with a probability."""
    _check(probability, "the probability of amplitude damping", 1.0)
    return Channel(1, _damping(probability), kind="amplitude_damping", values=(probability,))


def phase_damping(probability: float) -> Channel:
    """Return the channel that multiplies coherences by sqrt(1 - probability)."""
    _check(probability, "the probability of phase damping", 1.0)
    kraus = (_matrix(1, 0, 0, math.sqrt(1 - probability)), _matrix(0, 0, 0, math.sqrt(probability)))
    return Channel(1, kraus, kind="phase_damping", values=(probability,))


def generalized_amplitude_damping(probability: float, excited: float) -> Channel:
    """Return the relaxation, with a probability, to a mixture in which |1> has the probability `excited`."""
    _check(probability, "the probability of generalized amplitude damping", 1.0)
    _check(excited, "the excited population of generalized amplitude damping", 1.0)
    flipped = [matrix[::-1, ::-1] for matrix in _damping(probability)]
    down, up = math.sqrt(1 - excited), math.sqrt(excited)
    kraus = [down * each for each in _damping(probability)] + [up * each for each in flipped]
    return Channel(1, _nonzero(kraus), kind="generalized_amplitude_damping", values=(probability, excited))


def thermal_relaxation(t1: float, t2: float, duration: float) -> Channel:
    """Return relaxation towards |0> with T1 and loss of phase with T2 <= 2 T1 during a time, all in seconds.

    It is amplitude damping by 1 - exp(-t/T1) followed by phase damping that leaves exp(-t/T2) of the coherence (Nielsen
    and Chuang, section 8.3.5 and 8.3.6).
    """
    if not (t1 > 0 and t2 > 0 and duration >= 0 and math.isfinite(duration)):
        raise ProgramError(
            "INVALID_NOISE", f"thermal relaxation needs t1 > 0, t2 > 0 and duration >= 0, got {t1}, {t2}, {duration}"
        )
    if t2 > 2 * t1 * (1 + 1e-12):
        raise ProgramError("INVALID_NOISE", f"t2 of thermal relaxation must be at most 2 t1, got t1 = {t1}, t2 = {t2}")
    lost = -math.expm1(-duration / t1)
    dephased = -math.expm1(min(0.0, duration / t1 - 2 * duration / t2))
    kraus = [
        phase @ damping
        for phase in (_matrix(1, 0, 0, math.sqrt(1 - dephased)), _matrix(0, 0, 0, math.sqrt(dephased)))
        for damping in _damping(lost)
    ]
    return Channel(1, _nonzero(kraus), kind="thermal_relaxation", values=(t1, t2, duration))


def pauli(probabilities: Mapping[str, float]) -> Channel:
    """Return a mixture of Pauli strings of equal length; the identity has what the probabilities leave."""
    if not probabilities:
        raise ProgramError("INVALID_NOISE", "a Pauli channel must contain a Pauli string")
    qubits = len(next(iter(probabilities)))
    _check_qubits(qubits)
    for label, probability in probabilities.items():
        if len(label) != qubits or not set(label) <= set("IXYZ"):
            raise ProgramError(
                "INVALID_NOISE", f"a Pauli string has letters I, X, Y, Z, and all have the same length, got {label!r}"
            )
        _check(probability, f"the probability of {label}", 1.0)
    total = math.fsum(probabilities.values())
    if total > 1 + TOLERANCE:
        raise ProgramError("INVALID_NOISE", f"the probabilities of a Pauli channel must not exceed 1, got {total}")
    identity = "I" * qubits
    paulis = {identity: 0.0, **probabilities}
    paulis[identity] += max(0.0, 1 - total)
    return Channel(qubits, paulis=paulis, kind="pauli", values=())


def kraus(operators: Sequence[Any]) -> Channel:
    """Return a channel of Kraus operators: square matrices of equal size, a power of 2. Raises ProgramError.

    It is a mixture of Pauli strings too, if each operator is another Pauli string times a number.
    """
    matrices = [np.asarray(each, dtype=np.complex128) for each in operators]
    if not matrices:
        raise ProgramError("INVALID_NOISE", "a channel must contain a Kraus operator")
    size = len(matrices[0])
    qubits = size.bit_length() - 1
    if any(each.shape != (size, size) for each in matrices) or size != 1 << qubits or not qubits:
        raise ProgramError("INVALID_NOISE", "Kraus operators must be square matrices of one size, a power of 2")
    _check_qubits(qubits)
    with np.errstate(over="ignore", invalid="ignore"):  # such entries are far from a channel
        total = sum(each.conj().T @ each for each in matrices)
        off = np.abs(total - np.eye(size)).max()
    if not off <= TOLERANCE:
        raise ProgramError(
            "INVALID_NOISE",
            f"the sum of K^dagger K of Kraus operators must be the identity within {TOLERANCE:g}, is off by {off:.3g}",
        )
    return Channel(qubits, matrices, _mixture(matrices))


def _mixture(matrices: Sequence[NDArray[np.complex128]]) -> dict[str, float] | None:
    """Return the probabilities of the Pauli strings that matrices are, in their order; None: not all are one."""
    found: dict[str, float] = {}
    for matrix in matrices:
        # A Pauli string has one entry in each column. Its row in column 0 shows the flips, and the entries of the
        # columns 1, 2, 4, ... the phases.
        row = int(np.argmax(np.abs(matrix[:, 0])))
        factor = matrix[row, 0]
        places = range(len(matrix).bit_length() - 1)
        if abs(factor) < _ROUNDING:
            return None
        turned = [(matrix[row ^ 1 << place, 1 << place] / factor).real < 0 for place in places]
        letters = ["IZXY"[2 * (row >> place & 1) + turned[place]] for place in reversed(places)]
        label = "".join(letters)
        pauli = pauli_matrix(label)
        if label in found or np.abs(matrix - factor / pauli[row, 0] * pauli).max() > _ROUNDING:
            return None
        found[label] = float(abs(factor) ** 2)
    return found


def _flip(kind: str, letter: str, probability: float) -> Channel:
    _check(probability, f"the probability of {kind.replace('_', ' ')}", 1.0)
    return Channel(1, paulis={"I": 1 - probability, letter: probability}, kind=kind, values=(probability,))


def _damping(probability: float) -> tuple[NDArray[np.complex128], ...]:
    return _matrix(1, 0, 0, math.sqrt(1 - probability)), _matrix(0, math.sqrt(probability), 0, 0)


def _matrix(*entries: complex) -> NDArray[np.complex128]:
    return np.array(entries, dtype=np.complex128).reshape(2, 2)


def _nonzero(matrices: Sequence[NDArray[np.complex128]]) -> list[NDArray[np.complex128]]:
    return [each for each in matrices if np.any(each)]


def _check(value: float, name: str, most: float) -> None:
    if not (cmath.isfinite(value) and 0 <= value <= most):
        raise ProgramError("INVALID_NOISE", f"{name} must be between 0 and {most:g}, got {value}")


def _check_qubits(qubits: int) -> None:
    if not 1 <= qubits <= MAX_CHANNEL_QUBITS:
        raise ProgramError("INVALID_NOISE", f"a channel acts on 1 to {MAX_CHANNEL_QUBITS} qubits, got {qubits}")
