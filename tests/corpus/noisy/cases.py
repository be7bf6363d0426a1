# SPDX-License-Identifier: Apache-2.0
"""The programs of the noisy corpus as the reference interpreter runs them, with their noise models.

They tell mistakes apart: which qubit and which order of qubits a channel has, which side of a readout error, what a
probability means, and whether errors act before conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from tests.unit.ir.noise_reference import (
    CX,
    H,
    I,
    If,
    Kraus,
    Matrix,
    Measure,
    Readout,
    Reset,
    While,
    X,
    Y,
    Z,
    gate,
    ry,
)

#: Kraus operators of the channel that replaces a qubit by I/2.
MIXED: Final = [each / 2 for each in (I, X, Y, Z)]


class Case(NamedTuple):
    """A program for the reference, and its noise model: {} if the program has noise operations of its own.

    `pauli`: Clifford gates with mixtures of Pauli operators, so that stabilizer simulators run it.
    """

    name: str
    what: str
    qubits: int
    bits: int
    program: Sequence[Any]
    noise: dict[str, Any]
    pauli: bool = False


def damping(probability: float) -> list[Matrix]:
    """Return amplitude damping."""
    return [np.diag([1, (1 - probability) ** 0.5]), np.array([[0, probability**0.5], [0, 0]])]


def flip(probability: float, matrix: Matrix = X) -> list[Matrix]:
    """Return a channel that applies a matrix with a probability."""
    return [(1 - probability) ** 0.5 * I, probability**0.5 * matrix]


def depolarized(probability: float, qubits: tuple[int, ...]) -> Kraus:
    """Return the channel that replaces two qubits by I/4 with a probability."""
    paulis = [np.kron(b, a) for a in MIXED for b in MIXED]
    return Kraus([(1 - probability) ** 0.5 * np.eye(4), *(probability**0.5 * each for each in paulis)], qubits)


def error(gates: list[str], channel: dict[str, Any], *qubits: int) -> dict[str, Any]:
    """Return a GateError as JSON."""
    return {"gates": gates, "channel": channel, "qubits": list(qubits)}


def kraus(operators: list[Matrix]) -> dict[str, Any]:
    """Return a KrausChannel as JSON."""
    listed = [[part for z in each.flatten() for part in (complex(z).real, complex(z).imag)] for each in operators]
    return {"kraus": {"operators": [{"entries": entries} for entries in listed]}}


#: Damps the second qubit and flips the first.
PAIR: Final = [np.kron(b, a) for a in flip(0.1) for b in damping(0.3)]
#: Damps the first qubit and flips the second.
TURNED: Final = [np.kron(a, b) for a in flip(0.1) for b in damping(0.3)]
_BOTH: Final = (Measure(0, 0), Measure(1, 1))


def cases() -> list[Case]:
    """Return all cases."""
    return [
        *_with_own(_readout()),
        Case(
            "kraus_order",
            "A channel on two qubits, by Kraus operators that are not symmetric.",
            2, 2, [gate(ry(1.1), 1), gate(CX, 1, 0), Kraus(PAIR, (1, 0)), *_BOTH],
            {"gateErrors": [error(["cx"], kraus(PAIR))]},
        ),
        Case(
            "own_kraus",
            "The same kind of channel as an operation of the program.",
            2, 2, [gate(ry(1.1), 1), gate(CX, 1, 0), Kraus(TURNED, (1, 0)), *_BOTH], {},
        ),
        _own_channels(),
        *_with_own(
            Case(
                "feed_forward",
                "Amplitude damping and a readout error before a conditional gate, which has noise as well.",
                2, 2,
                [
                    gate(X, 0), Kraus(damping(0.25), (0,)), Measure(0, 0), Readout(0, 0.1, 0.05),
                    If(lambda bits: bool(bits & 1), [gate(X, 1), Kraus(damping(0.25), (1,))]), Measure(1, 1),
                ],
                {
                    "gateErrors": [error(["x"], {"amplitudeDamping": 0.25})],
                    "readoutErrors": [{"qubits": [0], "prob1Given0": 0.1, "prob0Given1": 0.05}],
                },
            )
        ),
        _relaxation(),
        *_with_own(
            Case(
                "until_zero",
                "A loop that ends by a measurement with a readout error; noise acts in each round.",
                2, 2,
                [
                    gate(X, 0), Measure(0, 0), Readout(0, 0.02, 0.08),
                    While(
                        lambda bits: bool(bits & 1),
                        [
                            gate(ry(1.3), 0), Kraus(damping(0.2), (0,)), gate(CX, 0, 1), Kraus(PAIR, (0, 1)),
                            Measure(0, 0), Readout(0, 0.02, 0.08),
                        ],
                    ),
                    Measure(1, 1),
                ],
                {
                    "gateErrors": [error(["ry"], {"amplitudeDamping": 0.2}), error(["cx"], kraus(PAIR))],
                    "readoutErrors": [{"qubits": [0], "prob1Given0": 0.02, "prob0Given1": 0.08}],
                },
            )
        ),
        Case(
            "body_of_gate",
            "Depolarizing of cx, which is within a gate that the program defines.",
            2, 2, [gate(H, 1), gate(CX, 1, 0), depolarized(0.2, (1, 0)), *_BOTH],
            {"gateErrors": [error(["cx"], {"depolarizing": 0.2})]}, True,
        ),
        Case(
            "named_gate",
            "An error of a gate that the program defines, in place of the errors of its body.",
            2, 2, [gate(H, 1), gate(CX, 1, 0), Kraus(PAIR, (1, 0)), *_BOTH],
            {"gateErrors": [error(["cx"], {"depolarizing": 0.2}), error(["pair"], kraus(PAIR))]},
        ),
        *_with_own(_repetition_code()),
    ]  # fmt: skip


def _with_own(case: Case) -> tuple[Case, Case]:
    """Return a case, and the same with the noise in the program."""
    what = f"{case.what.removesuffix('.')}, as operations of the program."
    return case, case._replace(name=f"own_{case.name}", what=what, noise={})


def _readout() -> Case:
    return Case(
        "readout",
        "Readout errors that differ between the qubits and between 0 and 1.",
        2, 2,
        [gate(X, 0), gate(H, 1), Measure(0, 0), Readout(0, 0.1, 0.3), Measure(1, 1), Readout(1, 0.2, 0.05)],
        {
            "readoutErrors": [
                {"qubits": [0], "prob1Given0": 0.1, "prob0Given1": 0.3},
                {"qubits": [1], "prob1Given0": 0.2, "prob0Given1": 0.05},
            ]
        },
        True,
    )  # fmt: skip


def _own_channels() -> Case:
    """Return a case with the probabilities of Braket and Cirq: depolarizing(0.3) is X, Y or Z with 0.1 each.

    Their 0.2 of the generalized damping is the probability of relaxation towards |0>.
    """
    up = np.array([[0, 0], [1, 0]])
    thermal = [
        *(0.2**0.5 * each for each in damping(0.3)),
        *(0.8**0.5 * each for each in (np.diag([0.7**0.5, 1]), 0.3**0.5 * up)),
    ]
    paulis = [p**0.5 * each for p, each in zip((0.7, 0.05, 0.1, 0.15), (I, X, Y, Z), strict=True)]
    return Case(
        "own_channels",
        "Channels of one qubit in programs: their probabilities mean what Braket and Cirq mean.",
        2, 2,
        [
            gate(ry(0.8), 0), Kraus([0.7**0.5 * I, *(0.1**0.5 * each for each in (X, Y, Z))], (0,)),
            Kraus(thermal, (1,)), gate(CX, 0, 1),
            Kraus([np.diag([1, 0.6**0.5]), np.diag([0, 0.4**0.5])], (0,)), Kraus(paulis, (1,)),
            gate(ry(0.9), 0), Kraus(damping(0.25), (0,)), *_BOTH,
        ],
        {},
    )  # fmt: skip


def _relaxation() -> Case:
    lost = float(1 - np.exp(-0.4))
    dephased = float((1 - np.exp(-2 / 3 + 0.2)) / 2)
    relaxed = [Kraus(damping(lost), (0,)), Kraus(flip(dephased, Z), (0,))]
    return Case(
        "relaxation",
        "Thermal relaxation of one of two qubits that have the same gates.",
        2, 2, [gate(H, 0), *relaxed, gate(H, 0), *relaxed, *_BOTH],
        {"gateErrors": [error(["h"], {"thermalRelaxation": {"t1": 50e-6, "t2": 30e-6, "duration": 20e-6}}, 0)]},
    )  # fmt: skip


def _repetition_code() -> Case:
    """Return two rounds of the repetition code of distance 3: data on 0 to 2, syndromes on 3 and 4."""
    noise = Kraus([each * p**0.5 for p, each in ((0.9, np.eye(4)), (0.06, np.kron(I, X)), (0.04, np.kron(Z, Y)))], ())
    program: list[Any] = []
    for turn in (0, 1):
        for data, check in ((0, 3), (1, 3), (1, 4), (2, 4)):
            program += [gate(CX, data, check), Kraus(noise.operators, (data, check))]
        for place, check in enumerate((3, 4)):
            bit = 2 * turn + place
            program += [Measure(check, bit), Readout(bit, 0.02, 0.05)]
        program += [] if turn else [Reset(3), Reset(4)]
    return Case(
        "repetition_code",
        "Two rounds of a repetition code with Pauli errors of cx, and readout errors of the syndromes.",
        5, 7, [*program, *(Measure(data, 4 + data) for data in range(3))],
        {
            "gateErrors": [error(["cx"], {"pauli": {"probabilities": {"IX": 0.06, "ZY": 0.04}}})],
            "readoutErrors": [{"qubits": [3, 4], "prob1Given0": 0.02, "prob0Given1": 0.05}],
        },
        True,
    )  # fmt: skip
