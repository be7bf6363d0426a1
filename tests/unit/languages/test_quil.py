# SPDX-License-Identifier: Apache-2.0
"""Quil: the meaning of every gate, modifier, definition and jump is kept; nothing changes without a warning."""

from __future__ import annotations

import math
import random
import time
from typing import Any

import numpy as np
import pytest
from qiskit.quantum_info import Operator
from quil.instructions import MemoryReference, Target
from quil.program import Program

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.quil import quil_reader as quil
from qonduit_server.languages.signatures import NO_INPUTS, Inputs
from qonduit_server.providers import registry as providers

X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1]).astype(complex)
H = np.array([[1, 1], [1, -1]]) / math.sqrt(2)


def refused(text: str, reason: str, inputs: Inputs = NO_INPUTS) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        quil.read(text, inputs)
    assert caught.value.reason == reason, caught.value.message
    return caught.value


def matrix(text: str, inputs: Inputs = NO_INPUTS) -> Any:
    """Return a program's unitary in Quil's order: the lowest qubit is the last (least significant) one."""
    return Operator(quil.read(text, inputs).quantum).data


def rotation(pauli: Any, angle: float) -> Any:
    return math.cos(angle / 2) * np.eye(len(pauli)) - 1j * math.sin(angle / 2) * pauli


def direct_sum(first: Any, second: Any) -> Any:
    return np.kron(np.diag([1, 0]), first) + np.kron(np.diag([0, 1]), second)


def middle(a: complex, b: complex, c: complex, d: complex, last: complex = 1) -> Any:
    return np.array([[1, 0, 0, 0], [0, a, b, 0], [0, c, d, 0], [0, 0, 0, last]], dtype=complex)


def cis(angle: float) -> complex:
    return complex(math.cos(angle), math.sin(angle))


def outcomes(text: str, inputs: Inputs = NO_INPUTS, shots: int = 200) -> dict[str, float]:
    """Return the share of each key on Aer."""
    circuit = quil.read(text, inputs)
    provider = providers.get("IBM")
    provider.load()
    (outcome,) = provider.run("aer_simulator", [provider.compile(circuit, "aer_simulator")], shots, 11)
    found: dict[str, float] = {}
    for value, number in outcome.counts.items():  # type: ignore[union-attr]
        key = circuit.key(value)
        found[key] = found.get(key, 0) + number / shots
    return found


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(each.name, len(each.bits)) for each in circuit.registers]


C, S = math.cos(0.35), math.sin(0.35)
GATES: dict[str, Any] = {
    "I 0": np.eye(2),
    "X 0": X,
    "Y 0": Y,
    "Z 0": Z,
    "H 0": H,
    "S 0": np.diag([1, 1j]),
    "T 0": np.diag([1, cis(math.pi / 4)]),
    "PHASE(0.7) 0": np.diag([1, cis(0.7)]),
    "RX(0.7) 0": rotation(X, 0.7),
    "RY(0.7) 0": rotation(Y, 0.7),
    "RZ(0.7) 0": rotation(Z, 0.7),
    "U(0.7, 0.2, 0.4) 0": np.array([[C, -cis(0.4) * S], [cis(0.2) * S, cis(0.6) * C]]),
    "CZ 1 0": np.diag([1, 1, 1, -1]),
    "CNOT 1 0": direct_sum(np.eye(2), X),
    "CPHASE00(0.7) 1 0": np.diag([cis(0.7), 1, 1, 1]),
    "CPHASE01(0.7) 1 0": np.diag([1, cis(0.7), 1, 1]),
    "CPHASE10(0.7) 1 0": np.diag([1, 1, cis(0.7), 1]),
    "CPHASE(0.7) 1 0": np.diag([1, 1, 1, cis(0.7)]),
    "SWAP 1 0": middle(0, 1, 1, 0),
    "ISWAP 1 0": middle(0, 1j, 1j, 0),
    "PSWAP(0.7) 1 0": middle(0, cis(0.7), cis(0.7), 0),
    "PISWAP(0.7) 1 0": middle(C, 1j * S, 1j * S, C),
    "XY(0.7) 1 0": middle(C, 1j * S, 1j * S, C),
    "SQISW 1 0": middle(*np.array([1, 1j, 1j, 1]) / math.sqrt(2)),
    "SQISWAP 1 0": middle(*np.array([1, 1j, 1j, 1]) / math.sqrt(2)),
    "FSIM(0.7, 0.3) 1 0": middle(C, 1j * S, 1j * S, C, cis(0.3)),
    "PHASEDFSIM(0.7, 0.1, 0.2, 0.4, 0.3) 1 0": middle(
        cis(-0.5) * C, 1j * cis(-0.2) * S, 1j * cis(-0.6) * S, cis(-0.3) * C, cis(0.3 - 0.8)
    ),
    "RXX(0.7) 1 0": rotation(np.kron(X, X), 0.7),
    "RYY(0.7) 1 0": rotation(np.kron(Y, Y), 0.7),
    "RZZ(0.7) 1 0": rotation(np.kron(Z, Z), 0.7),
    "BARENCO(0.1, 0.2, 0.35) 1 0": direct_sum(
        np.eye(2), np.array([[cis(0.1) * C, -1j * cis(-0.1) * S], [-1j * cis(0.3) * S, cis(0.1) * C]])
    ),
    # exp(-i/2 (b XX + c YY - a ZZ)), the specification's matrix.
    "CAN(0.7, 0.2, 0.4) 1 0": rotation(np.kron(X, X), 0.2)
    @ rotation(np.kron(Y, Y), 0.4)
    @ rotation(np.kron(Z, Z), -0.7),
    "CCNOT 2 1 0": direct_sum(np.eye(4), direct_sum(np.eye(2), X)),
    "CSWAP 2 1 0": direct_sum(np.eye(4), middle(0, 1, 1, 0)),
    "DAGGER S 0": np.diag([1, -1j]),
    "DAGGER DAGGER T 0": np.diag([1, cis(math.pi / 4)]),
    "CONTROLLED RZ(0.7) 1 0": direct_sum(np.eye(2), rotation(Z, 0.7)),
    "CONTROLLED PSWAP(0.7) 2 1 0": direct_sum(np.eye(4), middle(0, cis(0.7), cis(0.7), 0)),
    "DAGGER CONTROLLED CPHASE01(0.7) 2 1 0": np.diag([1, 1, 1, 1, 1, cis(-0.7), 1, 1]),
    "FORKED RX(0.7, 0.2) 1 0": direct_sum(rotation(X, 0.7), rotation(X, 0.2)),
    "CONTROLLED FORKED DAGGER RY(0.7, 0.2) 2 1 0": direct_sum(
        np.eye(4), direct_sum(rotation(Y, -0.7), rotation(Y, -0.2))
    ),
    "FORKED FORKED RZ(0.1, 0.2, 0.3, 0.4) 2 1 0": direct_sum(
        direct_sum(rotation(Z, 0.1), rotation(Z, 0.2)), direct_sum(rotation(Z, 0.3), rotation(Z, 0.4))
    ),
    "FORKED CONTROLLED PHASE(0.7, 0.2) 2 1 0": np.diag([1, 1, 1, cis(0.7), 1, 1, 1, cis(0.2)]),
    "RX(2^3^2/100) 0": rotation(X, 5.12),
    "RX(2^-(1^2)^2) 0": rotation(X, 2),
    "RX(-2*pi/7+SQRT(2)*cos(0.3)) 0": rotation(X, -2 * math.pi / 7 + math.sqrt(2) * math.cos(0.3)),
    "RX(0x10 * .5e-1) 0": rotation(X, 0.8),
}
DEFINED: dict[str, Any] = {
    "DEFGATE G(%a):\n    cis(%a), 0\n    0, i*exp(-i*%a)\nG(0.7) 0": np.diag([cis(0.7), 1j * cis(-0.7)]),
    "DEFGATE G AS MATRIX:\n    0, 1\n    0.70710678+0.70710678*i, 0\nG 0": np.array([[0, 1], [cis(math.pi / 4), 0]]),
    "DEFGATE G AS PERMUTATION:\n    0, 2, 3, 1\nG 1 0": np.eye(4)[[0, 2, 3, 1]],
    "DEFGATE G(%t) p q AS PAULI-SUM:\n    ZX(%t/2) q p\n    Y(0.0) q\nG(0.7) 1 0": rotation(np.kron(X, Z), 0.7),
    "DEFGATE G(%t) p AS PAULI-SUM:\n    X(%t/2) p\n    I(0.3) p\nCONTROLLED G(0.7) 1 0": direct_sum(
        np.eye(2), cis(-0.3) * rotation(X, 0.7)
    ),
    "DEFGATE G(%t) p q AS SEQUENCE:\n    RX(%t) q; CNOT q p\n    DAGGER S p\nG(0.7) 0 1": np.kron(
        np.eye(2), np.diag([1, -1j])
    )
    @ direct_sum(np.eye(2), X)
    @ np.kron(rotation(X, 0.7), np.eye(2)),
    "DEFGATE H:\n    0, 1\n    1, 0\nH 0": X,
    "DEFCIRCUIT G(%t) p q:\n    RX(%t) p; X q\n\n    # a comment\n    Z p\nG(0.7) 1 0": np.kron(
        Z @ rotation(X, 0.7), X
    ),
    "DEFCIRCUIT F q:\n    X q\nDEFCIRCUIT G p q:\n    F q\n    CZ p q\nG 0 1": np.diag([1, 1, 1, -1])
    @ np.kron(X, np.eye(2)),
    "DECLARE theta REAL[2]\nDECLARE Theta REAL\nMOVE theta[1] 1.4\nMOVE Theta 2\nRX(theta[1]/Theta) 0": rotation(
        X, 0.7
    ),
    "DECLARE t REAL\nMOVE t 0.5\nADD t 0.2\nMUL t 2\nSUB t 1.0\nDIV t 4.0\nRX(t) 0\nNEG t\nRX(t) 0\nRX(t) 0": rotation(
        X, -0.1
    ),
    "DECLARE n INTEGER[3]\nDECLARE t REAL\nMOVE n[0] 2\nMOVE n[2] 7\nLOAD n[1] n n[0]\nCONVERT t n[1]\nRX(t/10) 0": (
        rotation(X, 0.7)
    ),
    "DECLARE n INTEGER\nDECLARE go BIT\nMOVE n 0\nLABEL @a\nRX(0.1) 0\nADD n 1\nLT go n 7\nJUMP-WHEN @a go": rotation(
        X, 0.7
    ),
    "    X 0   ; Y    0\n\n    # indented as a whole\n    RX(0.7)     0  \r\n": rotation(X, 0.7) @ Y @ X,
}


@pytest.mark.parametrize("text", GATES)
def test_gate(text: str) -> None:
    assert np.allclose(matrix(text), GATES[text], atol=1e-7)


@pytest.mark.parametrize("text", GATES)
def test_gate_under_control(text: str) -> None:
    """Global phases are kept, which only a control makes observable."""
    size = len(GATES[text]).bit_length() - 1
    head = text[: len(text) - 2 * size]
    own = " ".join(str(each) for each in reversed(range(size)))
    assert np.allclose(matrix(f"CONTROLLED {head} 5 {own}"), direct_sum(np.eye(1 << size), GATES[text]), atol=1e-7)


@pytest.mark.parametrize("text", DEFINED)
def test_definition(text: str) -> None:
    assert np.allclose(matrix(text), DEFINED[text], atol=1e-7)


def test_memory_is_given_by_inputs() -> None:
    text = "DECLARE a REAL\nDECLARE b REAL[2]\nRX(a) 0\nRX(b[1] - b[0]) 0"
    assert np.allclose(matrix(text, {"a": 0.5, "b": [0.1, 0.3]}), rotation(X, 0.7))
    assert "'a'" in refused(text, "MISSING_INPUT", {"b": [0, 0]}).message
    refused(text, "INVALID_INPUT", {"a": 1, "b": 2})
    refused(text, "INVALID_INPUT", {"a": "1", "b": [1, 2]})
    assert quil.read("X 0", {"x": 1}).warnings == ("input 'x' is not one of the program's",)
    assert outcomes("DECLARE f BIT[2]\nJUMP-UNLESS @e f[1]\nX 0\nLABEL @e\nMEASURE 0 f[0]", {"f": "10"}) == {"0x3": 1}


def test_registers_are_those_declared_in_their_order() -> None:
    text = "DECLARE z BIT[2]\nDECLARE t REAL\nDECLARE a BIT\nDECLARE s BIT SHARING z OFFSET 1 BIT\nX 9\nMEASURE 9 s"
    circuit = quil.read(text)
    assert registers(circuit) == [("z", 2), ("a", 1), ("s", 1)]
    assert circuit.quantum.num_qubits == 1
    assert outcomes(text) == {"0x1 0x0 0x2": 1}
    assert outcomes("DECLARE ro BIT[3]\nX 4") == {"0x0": 1}
    assert quil.read("DECLARE ro BIT[3]\nX 4").registers[0].bits == (0, 1, 2)
    assert registers(quil.read("X 0")) == []


DETERMINED = {
    "overwritten": ("DECLARE ro BIT\nX 0\nMEASURE 0 ro\nX 0\nMEASURE 0 ro", "0x0"),
    "re-used": ("DECLARE ro BIT[3]\nX 0\nMEASURE 0 ro[0]\nMOVE ro[1] ro[0]\nX 0\nMEASURE 0 ro[0]\nNOT ro[2]", "0x6"),
    "discarded": ("DECLARE ro BIT\nX 0\nMEASURE 0\nMEASURE 0 ro", "0x1"),
    "named": ("DECLARE ro BIT\nX 0\nMEASURE!mid 0 ro", "0x1"),
    "reset": ("DECLARE ro BIT[2]\nX 0\nX 1\nRESET 0\nMEASURE 0 ro[0]\nMEASURE 1 ro[1]", "0x2"),
    "reset all": ("DECLARE ro BIT[2]\nRESET\nX 0\nX 1\nRESET\nX 1\nMEASURE 0 ro[0]\nMEASURE 1 ro[1]", "0x2"),
    "halt": ("DECLARE ro BIT\nX 0\nMEASURE 0 ro\nHALT\nX 0\nMEASURE 0 ro", "0x1"),
    "halt where": (
        "DECLARE ro BIT[2]\nX 0\nMEASURE 0 ro[0]\nJUMP-UNLESS @on ro[0]\nHALT\nLABEL @on\nX 1\nMEASURE 1 ro[1]",
        "0x1",
    ),
    "if else": (
        "DECLARE ro BIT[2]\nX 0\nMEASURE 0 ro[0]\nJUMP-WHEN @then ro[0]\nX 2\nJUMP @end\nLABEL @then\nX 1\n"
        "LABEL @end\nMEASURE 1 ro[1]",
        "0x3",
    ),
    "logic": (
        "DECLARE m BIT[2]\nDECLARE r BIT[6]\nX 0\nMEASURE 0 m[0]\nMEASURE 1 m[1]\n"
        "MOVE r[0] m[0]\nAND r[0] m[1]\nMOVE r[1] m[0]\nIOR r[1] m[1]\nMOVE r[2] m[0]\nXOR r[2] 1\n"
        "EQ r[3] m[0] m[1]\nGT r[4] m[0] m[1]\nLE r[5] m[0] 0\nEXCHANGE m[0] m[1]",
        "0x12 0x2",
    ),
    "counted": (
        "DECLARE n INTEGER\nDECLARE b BIT\nDECLARE r BIT[2]\nMOVE n 3\nX 0\nMEASURE 0 b\nDECLARE k INTEGER\n"
        "CONVERT k b\nADD n k\nEQ r[0] n 4\nMEASURE 0 k\nGE r[1] k 1",
        "0x3 0x1",
    ),
    "angle measured": (
        "DECLARE b BIT\nDECLARE t REAL\nX 0\nMEASURE 0 b\nCONVERT t b\nRX(t*pi) 1\nMEASURE 1 b",
        "0x1",
    ),
    "while as pyQuil writes it": (
        "DECLARE ro BIT[2]\nX 0\nMEASURE 0 ro[0]\nLABEL @START1\nJUMP-UNLESS @END2 ro[0]\nX 0\nX 1\n"
        "MEASURE 0 ro[0]\nJUMP @START1\nLABEL @END2\nMEASURE 1 ro[1]",
        "0x2",
    ),
    "a loop that is left in the middle": (
        "DECLARE ro BIT[2]\nLABEL @again\nX 0\nMEASURE 0 ro[0]\nJUMP-UNLESS @end ro[0]\nX 1\nH 0\nH 0\n"
        "JUMP @again\nLABEL @end\nMEASURE 1 ro[1]",
        "0x2",
    ),
    "a loop whose round ends early": (
        # Where a is 1, the rest of the round is skipped, which sets c[0].
        "DECLARE c BIT[2]\nDECLARE a BIT\nDECLARE go BIT\nLABEL @again\nRESET 0\nH 0\nMEASURE 0 a\n"
        "MOVE c[1] 1\nJUMP-WHEN @again a\nIOR c[0] 1\nRESET 0\nH 0\nMEASURE 0 go\nJUMP-WHEN @again go",
        "0x0 0x0 0x3",
    ),
    "a halt within a loop": (
        "DECLARE ro BIT\nDECLARE r BIT\nLABEL @again\nH 0\nMEASURE 0 ro\nJUMP-UNLESS @on ro\nHALT\nLABEL @on\n"
        "RESET 0\nJUMP @again\nMOVE r 1",
        "0x0 0x1",
    ),
    "a jump out of two loops": (
        "DECLARE a BIT\nDECLARE b BIT\nDECLARE r BIT\nLABEL @outer\nLABEL @inner\nRESET 0\nH 0\nMEASURE 0 a\n"
        "JUMP-WHEN @out a\nRESET 0\nH 0\nMEASURE 0 b\nJUMP-WHEN @inner b\nNOT r\nNOT r\nJUMP @outer\n"
        "MOVE r 1\nLABEL @out\nMOVE b 0",
        "0x0 0x0 0x1",
    ),
    "a jump from `then` into `else`": (
        "DECLARE a BIT[2]\nDECLARE r BIT[2]\nX 1\nMEASURE 0 a[0]\nMEASURE 1 a[1]\nJUMP-WHEN @else a[0]\n"
        "JUMP-WHEN @in a[1]\nNOT r[0]\nJUMP @end\nLABEL @else\nNOT r[0]\nLABEL @in\nNOT r[1]\nLABEL @end",
        "0x2 0x2",
    ),
    "a jump from `then` into `else` that is not taken": (
        "DECLARE a BIT[2]\nDECLARE r BIT[2]\nMEASURE 0 a[0]\nMEASURE 1 a[1]\nJUMP-WHEN @else a[0]\n"
        "JUMP-WHEN @in a[1]\nNOT r[0]\nJUMP @end\nLABEL @else\nNOT r[0]\nLABEL @in\nNOT r[1]\nLABEL @end",
        "0x1 0x0",
    ),
    "a round that goes back to the loop around": (
        "DECLARE a BIT\nDECLARE b BIT\nDECLARE n BIT[2]\nLABEL @outer\nMOVE n[0] 0\nLABEL @inner\nMOVE n[1] n[0]\n"
        "MOVE n[0] 1\nRESET 0\nH 0\nMEASURE 0 a\nJUMP-WHEN @outer a\nRESET 0\nH 0\nMEASURE 0 b\n"
        "JUMP-UNLESS @inner n[1]\nMOVE b 0",
        "0x3 0x0 0x0",
    ),
    "a loop with two labels": (
        "DECLARE a BIT\nDECLARE r BIT\nJUMP @second\nMOVE r 1\nLABEL @first\nLABEL @second\nRESET 0\nH 0\nMEASURE 0 a\n"
        "JUMP-WHEN @first a",
        "0x0 0x0",
    ),
    "a choice that was jumped into": (
        "DECLARE ro BIT[3]\nX 0\nMEASURE 0 ro[0]\nJUMP-WHEN @else ro[0]\nJUMP-WHEN @else ro[1]\nMOVE ro[2] 1\n"
        "JUMP @end\nLABEL @else\nMOVE ro[1] 1\nLABEL @end\nXOR ro[2] 0",
        "0x3",
    ),
    "circuit with memory": (
        "DECLARE ro BIT[3]\nDEFCIRCUIT M q t:\n    X q\n    MEASURE q t\n    JUMP-WHEN @out t\n    X q\n"
        "    LABEL @out\nM 0 ro[2]\nM 1 ro\nMEASURE 1 ro[1]",
        "0x7",
    ),
    "bits at the end of a round": (
        "DECLARE ro BIT[2]\nDECLARE a BIT\nLABEL @again\nRESET 0\nH 0\nMOVE ro[1] ro[0]\nMEASURE 0 ro[0]\n"
        "MOVE a ro[0]\nXOR a ro[1]\nJUMP-UNLESS @again a\nXOR ro[1] ro[0]\nNOT ro[0]\nAND ro[0] 0",
        "0x1 0x2",
    ),
    "measured in one branch of a round": (
        # The round after the one that measures m must not use its old bit.
        "DECLARE go BIT\nDECLARE m BIT\nDECLARE ro BIT\nDECLARE first BIT\nLABEL @again\nMOVE m 0\n"
        "JUMP-WHEN @skip first\n"
        "X 1\nMEASURE 1 m\nX 1\nLABEL @skip\nJUMP-UNLESS @next first\nMOVE ro m\nLABEL @next\n"
        "MOVE first 1\nRESET 0\nH 0\n"
        "MEASURE 0 go\nJUMP-WHEN @again go\nMOVE go 0\nMOVE first 0\nMOVE m 0",
        "0x0 0x0 0x0 0x0",
    ),
    "loops within each other": (
        "DECLARE a BIT\nDECLARE b BIT\nDECLARE c BIT[2]\nLABEL @outer\nMOVE c[0] 0\nLABEL @inner\n"
        "XOR c[0] c[0]\nRESET 0\nH 0\n"
        "MEASURE 0 a\nJUMP-WHEN @inner a\nIOR c[1] c[0]\nMOVE c[0] 1\nRESET 0\nH 0\nMEASURE 0 b\nJUMP-WHEN @outer b",
        "0x1 0x0 0x0",
    ),
    "two ways out": (
        "DECLARE m BIT[2]\nDECLARE r BIT[2]\nLABEL @again\nRESET 0\nRESET 1\nH 0\nH 1\nMEASURE 0 m[0]\n"
        "JUMP-WHEN @one m[0]\n"
        "MEASURE 1 m[1]\nJUMP-UNLESS @again m[1]\nNOT m[1]\nNOT r[1]\nNOT r[0]\nNOT r[1]\nHALT\nLABEL @one\nNOT m[0]\n"
        "MOVE r[0] 1\nMOVE m[1] 0",
        "0x1 0x0",
    ),
}


@pytest.mark.parametrize("name", DETERMINED)
def test_determined_outcome(name: str) -> None:
    text, key = DETERMINED[name]
    assert outcomes(text) == pytest.approx({key: 1.0})


def test_repeat_at_most_five_times() -> None:
    found = outcomes(
        "DECLARE ro BIT\nDECLARE n INTEGER\nDECLARE go BIT\nMOVE n 3\nLABEL @again\nRESET 0\nH 0\n"
        "MEASURE 0 ro\nSUB n 1\n"
        "JUMP-WHEN @end ro\nGT go n 0\nJUMP-WHEN @again go\nLABEL @end\nMOVE go 0",
        shots=4000,
    )
    assert found["0x0 0x0"] == pytest.approx(1 / 8, abs=0.03)
    assert found["0x0 0x1"] == pytest.approx(7 / 8, abs=0.03)


def test_a_loop_of_rigettis_library_is_counted() -> None:
    """Its end tests an INTEGER: it repeats while that is not 0."""
    body = Program.parse("DECLARE ro BIT\nX 0\nMEASURE 0 ro\nX 1")
    with pytest.warns(DeprecationWarning, match="end_target"):
        looped = body.wrap_in_loop(MemoryReference("n", 0), Target.Fixed("start"), Target.Fixed("end"), 3)
    text = looped.to_quil()
    assert "JUMP-WHEN @start n[0]" in text
    assert outcomes(text) == {"0x1": 1}
    assert quil.read(text).quantum.count_ops() == {"x": 6, "measure": 3}


def test_a_while_loop_stays_one_ir_loop() -> None:
    circuit = quil.read(
        "DECLARE a BIT\nDECLARE b BIT\nMEASURE 0 a\nMEASURE 1 b\nLABEL @start\nJUMP-UNLESS @end a\nJUMP-WHEN @end b\n"
        "H 0\nMEASURE 0 a\nJUMP @start\nLABEL @end"
    )
    (loop,) = [each.operation for each in circuit.quantum.data if each.operation.name == "while_loop"]
    assert set(loop.blocks[0].count_ops()) == {"h", "measure", "store"}
    assert circuit.quantum.count_ops()["measure"] == 2


def test_warnings() -> None:
    assert quil.read("DELAY 0 1.0\nX 0\nFENCE\nPRAGMA PRESERVE_BLOCK\nWAIT").warnings == (
        "delays are not simulated",
        "WAIT is ignored: no other process changes memory",
    )
    unused = quil.read('DEFCAL Y 0:\n    PULSE 0 "rf" flat(iq: 1)\nX 0').warnings
    assert unused == ("calibrations, frames and waveforms are ignored: pulses are not simulated",)
    assert "CAN" in quil.read("CAN(1, 2, 3) 0 1").warnings[0]


REFUSED = {
    "FOO 0": "UNKNOWN_GATE",
    "X 0 1": "SYNTAX_ERROR",
    "RX 0": "SYNTAX_ERROR",
    "RX(i) 0": "SYNTAX_ERROR",
    "RX(1/0) 0": "SYNTAX_ERROR",
    "RX(%a) 0": "SYNTAX_ERROR",
    "CNOT 0 0": "SYNTAX_ERROR",
    "X q": "SYNTAX_ERROR",
    "MEASURE 0 ro": "SYNTAX_ERROR",
    "DECLARE ro BIT\nMEASURE 0 ro[1]": "SYNTAX_ERROR",
    "DECLARE ro BIT\nDECLARE ro BIT[2]": "SYNTAX_ERROR",
    "DECLARE ro BIT SHARING x": "SYNTAX_ERROR",
    "DECLARE a BIT SHARING b\nDECLARE b BIT SHARING a": "SYNTAX_ERROR",
    "DECLARE n INTEGER\nDECLARE ro BIT[8] SHARING n": "UNSUPPORTED_CONSTRUCT",
    "DECLARE pi REAL": "SYNTAX_ERROR",
    "DECLARE theta REAL\nRX(THETA) 0": "SYNTAX_ERROR",
    "DEFGATE G:\n    1, 1\n    0, 1\nG 0": "SYNTAX_ERROR",
    "DEFGATE G:\n    1, 0\n    0\nG 0": "SYNTAX_ERROR",
    "DEFGATE G AS PERMUTATION:\n    0, 0\nG 0": "SYNTAX_ERROR",
    "DEFGATE G p AS SEQUENCE:\n    G p\nG 0": "SYNTAX_ERROR",
    "DEFGATE G p AS PAULI-SUM:\n    X(i) p\nG 0": "SYNTAX_ERROR",
    "DEFGATE G:\n    1, 0\n    0, 1\nDEFGATE G:\n    0, 1\n    1, 0\nG 0": "SYNTAX_ERROR",
    "DEFCIRCUIT G:\n    G\nG": "SYNTAX_ERROR",
    "DEFCIRCUIT G q:\n    H q\nDAGGER G 0": "UNSUPPORTED_CONSTRUCT",
    "DEFCIRCUIT G:\n    X 0\n  X 1\nG": "SYNTAX_ERROR",
    "DEFCIRCUIT G:\n    DECLARE x BIT\nG": "UNSUPPORTED_CONSTRUCT",
    "FORKED RX(1) 0 1": "SYNTAX_ERROR",
    "FORKED X 0 1": "SYNTAX_ERROR",
    "LABEL @a\nLABEL @a": "SYNTAX_ERROR",
    "JUMP @a": "SYNTAX_ERROR",
    "DEFCIRCUIT G:\n    LABEL @a\nG\nJUMP @a": "SYNTAX_ERROR",
    "DECLARE n INTEGER\nMOVE n 18446744073709551615": "TOO_LARGE",
    "DECLARE n INTEGER\nMOVE n 1\nDIV n 2": "UNSUPPORTED_CONSTRUCT",
    "DECLARE n INTEGER\nMOVE n 1\nDIV n 0": "SYNTAX_ERROR",
    "DECLARE b BIT\nADD b 1": "SYNTAX_ERROR",
    "DECLARE b BIT\nMOVE b 2": "SYNTAX_ERROR",
    "DECLARE b BIT\nEQ b b +1": "SYNTAX_ERROR",
    "NONBLOCKING X 0": "SYNTAX_ERROR",
    'INCLUDE "/etc/passwd"': "UNSUPPORTED_CONSTRUCT",
    "CALL f 1": "UNSUPPORTED_CONSTRUCT",
    'PULSE 0 "rf" flat(iq: 1)': "UNSUPPORTED_CONSTRUCT",
    "DEFCAL X 0:\n    FENCE 0\nX 0": "UNSUPPORTED_CONSTRUCT",
    "OPENQASM 2.0;": "WRONG_LANGUAGE",
    "DECLARE b BIT\nDECLARE n INTEGER\nMOVE n 0\nLABEL @a\nADD n 1\nH 0\nMEASURE 0 b\nJUMP-WHEN @a b": "TOO_LARGE",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    refused(text, REFUSED[text])


def test_refusals_have_a_position() -> None:
    assert refused("X 0\nRX(1, 2) 0", "SYNTAX_ERROR").line == 2
    assert refused("# one\nX 0\nX 0 ;; DEFGATE", "SYNTAX_ERROR").line == 3
    assert refused("DEFCIRCUIT F q:\n    FOO q\n\nX 1\nF 0", "UNKNOWN_GATE").line == 5


ENTERED = {
    "jump to the test": "DECLARE b BIT\nJUMP @test\nLABEL @body\nX 0\nLABEL @test\nMEASURE 0 b\nJUMP-WHEN @body b",
    "perhaps": "DECLARE b BIT\nH 0\nMEASURE 0 b\nJUMP-WHEN @in b\nLABEL @body\nH 0\nLABEL @in\nMEASURE 0 b\n"
    "JUMP-WHEN @body b",
    "never again": "DECLARE b BIT\nDECLARE z BIT\nH 0\nMEASURE 0 b\nJUMP-WHEN @in b\nLABEL @body\nX 1\nLABEL @in\nX 1\n"
    "JUMP-WHEN @body z",
    "in a circuit": "DECLARE b BIT\nDEFCIRCUIT G q:\n    JUMP @test\n    LABEL @body\n    X q\n    LABEL @test\n"
    "    MEASURE q b\n    JUMP-WHEN @body b\nX 1\nG 0",
}


@pytest.mark.parametrize("name", ENTERED)
def test_a_jump_into_a_loop_is_refused(name: str) -> None:
    error = refused(ENTERED[name], "UNSUPPORTED_CONSTRUCT")
    assert "a jump leads into the loop of LABEL @body, past that label: write the loop as" in error.message
    lines = ENTERED[name].split("\n")
    assert lines[error.line - 1] == ("G 0" if name == "in a circuit" else "LABEL @body")


def test_a_loop_that_changes_numbers_must_end_by_them() -> None:
    error = refused(
        "DECLARE b BIT\nDECLARE n INTEGER\nMOVE n 0\nLABEL @a\nADD n 1\nH 0\nMEASURE 0 b\nJUMP-WHEN @a b", "TOO_LARGE"
    )
    assert error.line == 4
    assert "a loop that changes INTEGER or REAL memory does not end within 40 rounds" in error.message


HUGE = {
    "bits": "DECLARE ro BIT[1000000000]",
    "circuits that double": "".join(f"DEFCIRCUIT A{k} q:\n    A{k + 1} q\n    A{k + 1} q\n" for k in range(40))
    + "DEFCIRCUIT A40 q:\n    X q\nA0 0",
    "gates that double": "".join(f"DEFGATE A{k} q AS SEQUENCE:\n    A{k + 1} q\n    A{k + 1} q\n" for k in range(40))
    + "DEFGATE A40 q AS SEQUENCE:\n    X q\nA0 0",
    "no end": "LABEL @a\nJUMP @a",
    "no end with a gate": "LABEL @a\nX 0\nJUMP @a",
    "no end with a measurement": "DECLARE b BIT\nLABEL @a\nMEASURE 0 b\nJUMP @a",
    "brackets": "RX(" + "(" * 100_000 + "1" + ")" * 100_000 + ") 0",
    "signs": "RX(" + "-" * 100_000 + "1) 0",
    "operators": "RX(" + "+".join(["1"] * 100_000) + ") 0",
    "a word": "A" * 1_000_000 + " 0",
    "digits": "X " + "9" * 100_000,
    "a matrix": "DEFGATE A:\n" + ("    " + ",".join(["1"] * 512) + "\n") * 512,
    "modifiers": "DAGGER " * 20_000 + "X 0",
    "controls": "CONTROLLED " * 40 + "X " + " ".join(map(str, range(41))),
    "forks": "FORKED " * 9 + "RX(" + ",".join(["1"] * 512) + ") " + " ".join(map(str, range(10))),
    "qubits": "\n".join(f"X {k}" for k in range(5000)),
    "text": "X 0\n" * 1_100_000,
    "loops": "DECLARE b BIT\n" + "".join(f"LABEL @a{k}\nX 0\n" for k in range(40)) + "MEASURE 0 b\n"
    + "".join(f"JUMP-WHEN @a{k} b\n" for k in reversed(range(40))),
    "many loops": "DECLARE b BIT\n" + "".join(f"LABEL @a{k}\nX 0\n" for k in range(2000)) + "MEASURE 0 b\n"
    + "".join(f"JUMP-WHEN @a{k} b\n" for k in reversed(range(2000))),
    "nested jumps": "DECLARE b BIT[1000]\n"
    + "".join(f"MEASURE 0 b[{k}]\nJUMP-WHEN @a{k} b[{k}]\nX 0\n" for k in range(1000))
    + "".join(f"LABEL @a{k}\n" for k in reversed(range(1000))),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_huge(name: str) -> None:
    began = time.process_time()
    refused(HUGE[name], "TOO_LARGE")
    assert time.process_time() - began < 10


def test_mutated_programs_are_read_or_refused() -> None:
    chosen = random.Random(5)
    programs = [*DEFINED, *(text for text, _ in DETERMINED.values()), *REFUSED]
    tokens = [each for text in programs for each in text.replace("(", " ( ").split(" ")] + [
        "\n",
        ";",
        "    ",
        '"',
        "%",
        "@",
    ]
    read = 0
    for _ in range(500):
        parts = chosen.choice(programs).split(" ")
        for _ in range(chosen.randint(1, 2)):
            place = chosen.randrange(len(parts))
            parts[place : place + chosen.randint(0, 2)] = [chosen.choice(tokens)]
        began = time.process_time()
        try:
            quil.read(" ".join(parts))
            read += 1
        except ProgramError:
            pass
        assert time.process_time() - began < 2, parts
    assert read >= 10
