# SPDX-License-Identifier: Apache-2.0
"""Circuit objects are serialized by their SDK; other objects are refused, naming the accepted types."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import circuits
from qonduit_client.errors import ProgramUnreadable
from qonduit_client.program_messages import programs_of

FLIP = np.array([[0, 1], [1, 0]], dtype=complex)


def of_qiskit() -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.unitary(FLIP, [0])
    circuit.measure([0, 1], [0, 1])
    return circuit


def of_cirq() -> Any:
    import cirq

    a, b = cirq.LineQubit.range(2)
    return cirq.Circuit(cirq.H(a), cirq.MatrixGate(FLIP)(a), cirq.measure(a, b, key="c"))


def of_braket() -> Any:
    from braket.circuits import Circuit

    return Circuit().h(0).unitary(matrix=FLIP, targets=[0]).i(1)


def of_pennylane() -> Any:
    import pennylane as qml

    return qml.tape.QuantumScript([qml.Hadamard(0), qml.QubitUnitary(FLIP, 0)], [qml.sample(wires=[0, 1])])


def of_quil() -> Any:
    from quil.program import Program

    return Program.parse("DECLARE ro BIT[2]\nH 0\nMEASURE 0 ro[0]\nMEASURE 1 ro[1]\n")


MADE = {"QISKIT": of_qiskit, "CIRQ": of_cirq, "BRAKET": of_braket, "QASM2": of_pennylane, "QUIL": of_quil}


def language(program: Any) -> str:
    return AssemblerLanguage.Name(program.assembler_language).removeprefix("ASSEMBLER_LANGUAGE_")


@pytest.mark.parametrize("name", MADE)
def test_each_sdk_writes_its_own_form(name: str) -> None:
    (found,) = programs_of(MADE[name]())
    assert language(found) == name
    assert bool(found.quantum_circuit_binary) == (name == "QISKIT")
    assert bool(found.quantum_circuit) == (name != "QISKIT")


def test_mixed_lists_generators_arrays_and_values() -> None:
    circuits = {name: make() for name, make in MADE.items()}
    for several in (
        list(circuits.values()),
        tuple(circuits.values()),
        circuits.values(),
        (each for each in circuits.values()),
    ):
        assert [language(program) for program in programs_of(several)] == list(MADE)
    array = np.empty(2, dtype=object)
    array[:] = [circuits["CIRQ"], "OPENQASM 3;"]
    assert [language(program) for program in programs_of(array)] == ["CIRQ", "QASM3"]


def test_a_frozen_circuit_and_a_braket_program() -> None:
    from braket.ir.openqasm import Program

    assert language(*programs_of(of_cirq().freeze())) == "CIRQ"
    (found,) = programs_of(Program(source="OPENQASM 3; qubit q;"))
    assert (language(found), found.quantum_circuit) == ("BRAKET", "OPENQASM 3; qubit q;")
    with pytest.raises(ProgramUnreadable, match="inputs="):
        programs_of(Program(source="OPENQASM 3; input float t;", inputs={"t": 1.0}))


def test_metadata_of_any_type_is_not_sent() -> None:
    import io

    from qiskit import QuantumCircuit, qpy

    branch = QuantumCircuit(2, 2, metadata={"mine": object()})
    branch.x(1)
    circuit = of_qiskit()
    circuit.if_else((circuit.clbits[0], 1), branch, None, [0, 1], [0, 1])
    kept = circuit.metadata = {("not", "a text"): object()}
    (found,) = programs_of(circuit)
    (read,) = qpy.load(io.BytesIO(found.quantum_circuit_binary))
    assert read.metadata == {}
    assert read.data[-1].operation.params[0].metadata == {}
    assert circuit.metadata is kept, "the caller's circuit is unchanged"
    assert read.count_ops() == circuit.count_ops()


def test_pyquil_and_qrisp_are_recognized_by_their_methods() -> None:
    # Neither can be installed beside the other SDKs: their classes are recognized by package and method.
    quil = type("Program", (), {"__module__": "pyquil.quil", "out": lambda self: "H 0\n"})()
    (found,) = programs_of(quil)
    assert (language(found), found.quantum_circuit) == ("QUIL", "H 0\n")
    circuit = type("QuantumCircuit", (), {"__module__": "qrisp.circuit.quantum_circuit", "qasm": lambda self: "x"})()
    (found,) = programs_of(circuit)
    assert (language(found), found.quantum_circuit) == ("QASM2", "x")
    variable = type("QuantumFloat", (), {"__module__": "qrisp.qtypes"})()
    with pytest.raises(ProgramUnreadable, match=r"pass a qrisp\.QuantumCircuit"):
        programs_of(variable)


def _wrong() -> dict[str, tuple[Any, str]]:
    import cirq
    import pennylane as qml
    from braket.circuits import Gate
    from qiskit.circuit.library import HGate

    table = type("DataFrame", (), {"__iter__": lambda self: iter(["a", "b"])})()
    qnode = qml.QNode(lambda: qml.probs(), qml.device("default.qubit"))
    return {
        "a gate of Qiskit": (HGate(), "pass a qiskit.QuantumCircuit"),
        "a moment of Cirq": (cirq.Moment(), "pass a cirq.Circuit"),
        "a gate of Braket": (Gate.H(), "pass a braket.circuits.Circuit"),
        "a QNode": (qnode, "pass a tape"),
        "an operator": (qml.PauliX(0), "pass a tape"),
        "a table": (table, "DataFrame is not a program: pass text, bytes, a Path, a circuit of Qiskit"),
        "a mapping": ({"bell": "OPENQASM 3;"}, "dict is not a program"),
        "a set": ({"OPENQASM 3;"}, "set is not a program"),
        "a number": (5, "5 is not a program"),
        "a number in a list": (["OPENQASM 3;", 5], "5 is not a program"),
        "None in a list": ([None], "None is not a program"),
        "something else": (SimpleNamespace(), "SimpleNamespace is not a program"),
    }


def test_the_error_of_an_invalid_program_names_the_accepted_types() -> None:
    for name, (value, said) in _wrong().items():
        with pytest.raises(ProgramUnreadable) as caught:
            programs_of(value)
        assert said in caught.value.message, name
        assert caught.value.reason == "UNKNOWN_OBJECT"


def test_a_circuit_that_its_sdk_cannot_write_shows_the_reason() -> None:
    import cirq

    class Mine(cirq.Gate):
        def _num_qubits_(self) -> int:
            return 1

    with pytest.raises(ProgramUnreadable, match="cirq cannot serialize this") as caught:
        programs_of(cirq.Circuit(Mine()(cirq.LineQubit(0))))
    assert caught.value.__cause__ is not None


def test_the_client_imports_no_sdk() -> None:
    code = (
        "import sys, qonduit_client, qonduit_client.aio, qonduit_client.client, qonduit_client.job\n"
        "qonduit_client.program_messages.programs_of(['OPENQASM 3;'])\n"
        "named = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(named & {'qiskit', 'cirq', 'braket', 'quil', 'pennylane', 'qrisp', 'numpy', 'scipy',"
        " 'matplotlib', 'IPython', 'pandas', 'rich', 'click'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def parametrized() -> Any:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter, ParameterVector

    phase, angles = Parameter("phase"), ParameterVector("angles", 3)
    circuit = QuantumCircuit(2, 1, global_phase=2 * phase, name="parametrized")
    circuit.rx(angles[0], 0)
    circuit.ry(3 - angles[2], 0)
    circuit.measure(0, 0)
    return circuit


def test_names_of_parameters_decide_the_bytes_of_circuits_in_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit import qpy

    (first,), (second,) = programs_of(parametrized()), programs_of(parametrized())
    assert first != second
    monkeypatch.setattr(circuits, "_names_parameters", True)
    (first,), (second,) = programs_of(parametrized()), programs_of(parametrized())
    assert first == second
    (read,) = qpy.load(io.BytesIO(first.quantum_circuit_binary))
    assert [each.name for each in read.parameters] == ["angles[0]", "angles[2]", "phase"]
    values = {"angles[0]": 0.25, "angles[2]": 0.5, "phase": 1.0}
    assert read.assign_parameters(values) == parametrized().assign_parameters(values)
