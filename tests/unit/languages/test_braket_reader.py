# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket's dialect: gates agree with Braket's own simulator; pragmas; the registers of results."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
from braket.default_simulator.gate_operations import BRAKET_GATES
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.braket.braket_gates import BRAKET
from qonduit_server.languages.braket.braket_reader import read
from qonduit_server.languages.openqasm3 import openqasm3_reader

ANGLES = (0.37, -1.21, 2.05)


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(register.name, len(register.bits)) for register in circuit.registers]


def names(circuit: Circuit) -> list[str]:
    return [instruction.operation.name for instruction in circuit.quantum.data]


def refused(text: str, reason: str) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        read(text)
    assert caught.value.reason == reason
    return caught.value


def done(circuit: Circuit, qubits: int) -> np.ndarray[Any, Any]:
    """Return the unitary before the measurements; the first qubit is the highest bit, as in Braket."""
    gates = QuantumCircuit(qubits)
    for instruction in circuit.quantum.data:
        if instruction.operation.name != "measure":
            gates.append(instruction.operation, [circuit.quantum.find_bit(each).index for each in instruction.qubits])
    return np.asarray(Operator(gates.reverse_bits()).data)


def test_all_gates_are_there() -> None:
    assert set(BRAKET) == set(BRAKET_GATES) - {"unitary", "gphase"}


@pytest.mark.parametrize("name", sorted(BRAKET))
def test_gates_are_those_of_brakets_simulator(name: str) -> None:
    known = BRAKET[name]
    angles = ANGLES[: known.parameters]
    expected = BRAKET_GATES[name](range(known.qubits), *angles).matrix  # type: ignore[abstract]
    called = name + (f"({', '.join(map(str, angles))})" if angles else "")
    # A control makes the global phase observable.
    size = known.qubits + 1
    operands = ", ".join(f"q[{k}]" for k in range(size))
    found = done(read(f"OPENQASM 3.0; qubit[{size}] q; ctrl @ {called} {operands};"), size)
    half = 1 << known.qubits
    assert np.allclose(found[:half, :half], np.eye(half))
    assert np.allclose(found[half:, half:], expected)


def test_u_has_no_phase_here() -> None:
    text = "OPENQASM 3.0; qubit[2] q; ctrl @ U(0.4, 0.2, 0.1) q[0], q[1];"
    own = done(openqasm3_reader.read(text), 2)[2:, 2:]
    assert np.allclose(own, cmath.exp(0.2j) * done(read(text), 2)[2:, 2:])


def test_names_of_other_libraries_need_their_include() -> None:
    refused("OPENQASM 3.0; qubit[2] q; cx q[0], q[1];", "UNKNOWN_GATE")
    circuit = read('OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; cx q[0], q[1]; cnot q[1], q[0];')
    assert names(circuit)[:2] == ["cx", "cx"]


@pytest.mark.parametrize(
    ("text", "shown", "warning"),
    [
        ("qubit[3] q; h q[0];", [("meas", 3)], "all qubits are measured at its end, as 'meas'"),
        ("qubit[2] q; bit[2] b; h q[0];", [("meas", 2)], "and its bits are not shown"),
        ("bit b; h $3; cnot $3, $1;", [("meas", 2)], "all qubits are measured"),
        ("qubit[3] q; h q; measure q[2]; measure q[0];", [("meas", 2)], "in the order of measurement"),
        ("qubit[2] q; bit b; b = measure q[0]; measure q[1];", [("b", 1)], "is not shown"),
        ("qubit[2] q; bit[2] b; bit c; b = measure q;", [("b", 2), ("c", 1)], ""),
        ("bit[2] b;", [("b", 2)], ""),
        ("", [], ""),
    ],
)
def test_registers_in_results(text: str, shown: list[tuple[str, int]], warning: str) -> None:
    circuit = read(f"OPENQASM 3.0; {text}")
    assert registers(circuit) == shown
    assert bool(warning) == bool(circuit.warnings)
    assert warning in "".join(circuit.warnings)


def test_the_lowest_qubit_is_bit_0() -> None:
    circuit = read("OPENQASM 3.0; x $7; i $2;")
    (register,) = circuit.registers
    measured = {
        circuit.quantum.find_bit(each.clbits[0]).index: circuit.quantum.find_bit(each.qubits[0]).index
        for each in circuit.quantum.data
        if each.operation.name == "measure"
    }
    assert [measured[place] for place in register.bits] == [0, 1]  # type: ignore[index]
    assert [circuit.quantum.find_bit(each.qubits[0]).index for each in circuit.quantum.data[:2]] == [1, 0]


def test_physical_and_declared_qubits_are_not_mixed() -> None:
    refused("qubit q; x q; x $0;", "UNSUPPORTED_CONSTRUCT")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("[[1, 0], [0, 1im]]", [[1, 0], [0, 1j]]),
        ("[[-10e-1im, 0.0], [0, 1]]", [[-1j, 0], [0, 1]]),
        ("[[0, -1.0im], [1im, 0]]", [[0, -1j], [1j, 0]]),
        ("[[0.6+0.0im, 0.8 - 0.0im], [0.8, -.6]]", [[0.6, 0.8], [0.8, -0.6]]),
        ("[[5e-1 + 5.0e-1im, 0.5 - 0.5im],[0.5-0.5im, 0.5 + 0.5im]]", [[0.5 + 0.5j, 0.5 - 0.5j]] * 2),
        ("[[0, -0.6 + -0.8im], [1, 0]]", [[0, -0.6 - 0.8j], [1, 0]]),
    ],
)
def test_matrices(entries: str, expected: list[list[complex]]) -> None:
    if expected[0] == expected[1]:
        expected = [expected[0], expected[0][::-1]]
    circuit = read(f"OPENQASM 3.0;\nqubit[1] q;\n#pragma braket unitary({entries}) q[0]\n")
    assert np.allclose(done(circuit, 1), expected)


def test_a_matrix_on_two_qubits_has_the_first_as_its_highest_bit() -> None:
    rows = "[[1,0,0,0],[0,1,0,0],[0,0,0,1],[0,0,1,0]]"
    circuit = read(f"qubit[2] q;\n#pragma braket unitary({rows}) q[1], q[-2]\n")
    assert np.allclose(done(circuit, 2), done(read("qubit[2] q; cnot q[1], q[0];"), 2))
    assert np.allclose(done(read(f"#pragma braket unitary({rows}) $0, $1\n"), 2), done(read("cnot $0, $1;"), 2))
    assert np.allclose(done(read(f"qubit[2] q;\n#pragma braket unitary({rows}) q\n"), 2), done(read("cnot $0, $1;"), 2))


def test_matrices_do_not_count_as_words() -> None:
    rows = ", ".join(str([f"{each:.1f} + 0.0im" for each in row]).replace("'", "") for row in np.eye(64))
    text = "qubit[6] q;\n" + f"#pragma braket unitary([{rows}]) q\n" * 4
    assert text.count("im") * 8 > openqasm3_reader.MAX_TOKENS
    assert names(read(text))[:4] == ["unitary"] * 4


@pytest.mark.parametrize(
    ("pragma", "reason"),
    [
        ("unitary([[1, 0], [0, 2]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1]]) q[0], q[1]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], 3, [0, 1]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1 im 1]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1 1im]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, nan]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1e999]]) q[0]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1]]) q[9]", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1]]) r", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1]]) all", "SYNTAX_ERROR"),
        ("unitary([[1, 0], [0, 1]]) q[0]; x", "SYNTAX_ERROR"),
        ("unitary([[1,0,0,0],[0,1,0,0],[0,0,0,1],[0,0,1,0]]) q[1], q[1]", "SYNTAX_ERROR"),
        ("unitary q[0]", "SYNTAX_ERROR"),
        ("unitary([[1]]) big", "UNSUPPORTED_CONSTRUCT"),
        ("something else", "UNSUPPORTED_CONSTRUCT"),
    ],
)
def test_pragmas_that_are_refused(pragma: str, reason: str) -> None:
    error = refused(f"OPENQASM 3.0;\nqubit[2] q; qubit[9] big;\n#pragma braket {pragma}\n", reason)
    assert error.line == 3


@pytest.mark.parametrize(
    ("pragma", "warning"),
    [
        ("braket result probability", "'probability' is not computed"),
        ("braket result probability q[0], q[1]", "is not computed"),
        ("braket result state_vector", "'state_vector'"),
        ("braket result expectation x(q[0]) @ z(q[1])", "results are counts"),
        ('braket result amplitude "00"', "results are counts"),
        ("vendor name", "'vendor name' is ignored"),
        ("braket", "'braket' is ignored"),
    ],
)
def test_pragmas_that_warn(pragma: str, warning: str) -> None:
    circuit = read(f"OPENQASM 3.0;\nqubit[2] q;\nbit[2] b;\nb = measure q;\n#pragma {pragma}\n")
    (said,) = circuit.warnings
    assert warning in said


def test_verbatim_boxes_are_done_as_they_stand() -> None:
    circuit = read(
        "OPENQASM 3.0;\nbit[2] b;\n#pragma braket verbatim\nbox {\nprx(0.5, 0.1) $0;\niswap $0, $1;\n}\n"
        "b[0] = measure $0;\nb[1] = measure $1;\n"
    )
    assert names(circuit) == ["r", "iswap", "measure", "measure"]
    assert not circuit.warnings


def test_features_that_braket_reads() -> None:
    circuit = read(
        "OPENQASM 3.0;\nconst int n = 2;\ninput float theta;\narray[float, 2] a = {0.5, pi / 4};\n"
        "def turn(qubit p, float t) { rx(t * 2) p; ry(arcsin(0.5)) p; }\n"
        "gate mine(t) p, q { gpi2(t) p; ms(t, 0, pi / 2) p, q; }\n"
        "qubit[n] q; bit[n] b; bit c;\nfor int i in [0:n - 1] { turn(q[i], a[i] + theta); }\n"
        "mine(0.1) q[0], q[1]; delay[100ns] q; barrier q; c = measure q[0]; if (c == 1) { x q[1]; } reset q[0];\n"
        "negctrl @ v q[1], q[0]; pow(0.5) @ s q[0]; b = measure q;",
        {"theta": 0.25},
    )
    assert registers(circuit) == [("b", 2), ("c", 1)]
    first = circuit.quantum.data[0].operation
    assert (first.name, first.params) == ("rx", [pytest.approx(1.5)])
    assert circuit.warnings == ("delays are not simulated",)
    assert math.isclose(circuit.quantum.data[2].operation.params[0], 2 * (math.pi / 4 + 0.25))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("OPENQASM 3.0;\ninput float t;\nqubit q;\nrx(t) q;", "MISSING_INPUT"),
        ("OPENQASM 3.0;\nqubit q;\nnothing q;", "UNKNOWN_GATE"),
        ("OPENQASM 3.0;\nqubit q;\nms(1, 2) q, q;", "SYNTAX_ERROR"),
        ('OPENQASM 3.0;\ninclude "/etc/passwd";', "UNSUPPORTED_CONSTRUCT"),
        ("OPENQASM 2.0;\nqreg q[1];", "WRONG_LANGUAGE"),
        ("OPENQASM 3.0;\nqubit[1000000000] q;", "TOO_LARGE"),
        ("OPENQASM 3.0;\ncal { }", "UNSUPPORTED_CONSTRUCT"),
    ],
)
def test_errors_have_a_position(text: str, reason: str) -> None:
    assert refused(text, reason).line
