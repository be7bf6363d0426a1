# SPDX-License-Identifier: Apache-2.0
"""The passes over the IR take circuits with parameters: binding before a pass gives what binding after it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit import library as qk

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.clifford import clifford_content, clifford_gates, is_clifford
from qonduit_server.ir.deferral import defer
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.ir.parameters import bind
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.ir.unitary import unitary_part
from qonduit_server.languages.registry import Languages
from tests.unit.ir import reference_simulator
from tests.unit.ir.open_circuits import X, circuit_of, nested, read


def model(*gates: str, **more: object) -> NoiseModel:
    errors = [{"gates": [each], "channel": {"bitFlip": 0.2}} for each in gates]
    return ParseDict({"gateErrors": errors, **more}, NoiseModel())


VALUES: Mapping[str, float] = {"x": 0.4, "y": -1.1}


def named(circuit: Circuit) -> list[tuple[object, ...]]:
    """Return the operations with their parameters and qubits."""
    quantum = circuit.quantum
    return [
        (each.operation.name, *each.params, *(quantum.find_bit(qubit).index for qubit in each.qubits))
        for each in quantum.data
        if each.operation.name != "channel"
    ]


def test_noise_is_added_before_binding_as_after() -> None:
    noise = model("rx", "own", "cp", readoutErrors=[{"prob1Given0": 0.1, "prob0Given1": 0.2}])
    body = "gate own(t) p { rx(t) p; p(2 * t) p; } own(x) q[0]; rx(y) q[1]; ctrl @ own(y) q[0], q[1]; c = measure q;"
    circuit = read(body, gate_names(noise))
    noisy = with_noise(circuit, noise)
    assert noisy.parameters == ("x", "y")
    first, second = bind(noisy, VALUES), with_noise(bind(circuit, VALUES), noise)
    assert first.quantum.count_ops() == second.quantum.count_ops()
    assert named(first) == named(second)
    assert first.quantum.count_ops()["channel"] == 4  # two of them for the gate on two qubits
    assert first.warnings == second.warnings


def test_a_noise_model_of_aer_needs_the_values() -> None:
    noise = NoiseModel(aer_json="{}")
    circuit = read("rx(x) q[0];")
    with pytest.raises(NotSymbolic):
        with_noise(circuit, noise)
    with pytest.raises(ProgramError):  # which names the fault of the model
        with_noise(bind(circuit, VALUES), noise)


def test_what_is_another_gate_for_some_values_needs_them_under_a_noise_model() -> None:
    names = gate_names(model("x", "p"))
    with pytest.raises(NotSymbolic):
        read("ctrl @ gphase(x) q[0];", names)
    with pytest.raises(NotSymbolic):
        read("ctrl @ cu(0.1, 0.2, 0.3, x) q[0], q[1], q[1];", names)
    assert read("ctrl @ gphase(x) q[0];").parameters == ("x",)
    cirq_json = (
        '{"cirq_type": "Circuit", "moments": [{"cirq_type": "Moment", "operations": [{"cirq_type": "GateOperation", '
        '"gate": {"cirq_type": "XPowGate", "exponent": {"cirq_type": "sympy.Symbol", "name": "x"}, '
        '"global_shift": 0.0}, "qubits": [{"cirq_type": "LineQubit", "x": 0}]}]}]}'
    )
    language = AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ
    assert Languages().read(language, cirq_json, b"", {}, free=frozenset("x")).parameters == ("x",)
    with pytest.raises(NotSymbolic):
        Languages().read(language, cirq_json, b"", {}, gate_names=names, free=frozenset("x"))


@pytest.mark.parametrize(
    "body",
    [
        "rx(x) q[0]; c = measure q;",
        "rx(x) q[0]; c[0] = measure q[0]; ry(y) q[0];",
        "rx(x) q[0]; c[0] = measure q[0]; if (c[0]) { ry(y) q[1]; } reset q[0];",
        "do_not_unroll",
    ],
)
def test_the_needs_of_a_circuit_do_not_depend_on_its_parameters(body: str) -> None:
    if body == "do_not_unroll":
        body = "rx(x) q[0]; c[0] = measure q[0]; while (c[0]) { ry(y) q[0]; c[0] = measure q[0]; }"
    circuit = read(body)
    assert requirements_of(circuit.quantum) == requirements_of(bind(circuit, VALUES).quantum)


def test_a_gate_with_a_parameter_is_no_clifford_gate() -> None:
    circuit = read("h q[0]; rz(x) q[0]; cx q[0], q[1];")
    assert not is_clifford(circuit.quantum)
    assert clifford_content(circuit.quantum).obstacle == "gate rz at qubit 0"
    assert is_clifford(bind(circuit, {"x": math.pi / 2}).quantum)
    own = Gate("own", 1, [X])
    own.definition = QuantumCircuit(1)
    own.definition.p(X, 0)
    assert clifford_gates(own) is None
    assert clifford_gates(qk.RXGate(X).control(1)) is None


def test_lowering_keeps_parameters_and_their_phases() -> None:
    circuit = nested()
    kinds = (qk.RXGate, qk.RZGate, qk.RYGate, qk.UGate, qk.CXGate, qk.HGate, qk.PhaseGate)
    lowering, plain = (Lowering("TEST/device", lambda each: isinstance(each, kinds)) for _ in range(2))
    bound = bind(circuit, VALUES)
    for instruction, other in zip(circuit.quantum.data[:4], bound.quantum.data[:4], strict=True):
        found = QuantumCircuit(2)
        for step, places in lowering.expand(instruction.operation):
            found.append(step, places)
        wanted = QuantumCircuit(2)
        for step, places in plain.expand(other.operation):
            wanted.append(step, places)
        reduced = {each: VALUES[each.name] for each in found.parameters}
        assert found.assign_parameters(reduced) == wanted
    assert float(lowering.phase.bind({X: VALUES["x"]})) == pytest.approx(plain.phase)  # type: ignore[attr-defined]


def test_deferral_keeps_parameters() -> None:
    body = "h q[0]; rx(x) q[0]; c[0] = measure q[0]; if (c[0]) { ry(x * y) q[1]; } rz(y) q[0]; rx(y) q[0];"
    circuit = read(body)
    native = frozenset((qk.RXGate, qk.RYGate, qk.RZGate, qk.HGate, qk.CXGate, qk.PhaseGate, qk.UGate))

    def deferred(quantum: QuantumCircuit) -> QuantumCircuit:
        lowering = Lowering("TEST/device", lambda each: each.base_class in native)
        found = defer(quantum, lowering, "TEST/device", lambda qubits, helpers: None)
        flat = QuantumCircuit(found.qubits)
        for gate, places in found.gates:
            flat.append(gate, places)
        return flat

    symbolic = deferred(circuit.quantum)
    bound = symbolic.assign_parameters({each: VALUES[each.name] for each in symbolic.parameters})
    wanted = deferred(bind(circuit, VALUES).quantum)
    assert reference_simulator.close(states(bound), states(wanted), 1e-12)


def states(quantum: QuantumCircuit) -> dict[str, float]:
    measured = QuantumCircuit(quantum.num_qubits, quantum.num_qubits)
    measured.compose(quantum, inplace=True)
    measured.h(range(quantum.num_qubits))
    measured.measure(range(quantum.num_qubits), range(quantum.num_qubits))
    return reference_simulator.distribution(circuit_of(measured))


def test_the_unitary_part_keeps_parameters() -> None:
    circuit = read(
        "gate own(t) p { ry(t) p; p(t / 2) p; } h q[0]; own(x) q[0]; ctrl @ own(y) q[0], q[1]; c = measure q;"
    )
    native = (qk.RYGate, qk.PhaseGate, qk.HGate, qk.CXGate, qk.UGate, qk.RZGate)

    def gates(program: Circuit) -> list[tuple[str, list[float], tuple[int, ...]]]:
        found = unitary_part(program, Lowering("TEST/device", lambda each: isinstance(each, native)))
        quantum = QuantumCircuit(2)
        for gate, places in found:
            quantum.append(gate, places)
        if program.parameters:
            quantum = bind(circuit_of(quantum), VALUES).quantum
        return [(each.operation.name, each.params, tuple(map(quantum.find_bit, each.qubits))) for each in quantum.data]

    for one, other in zip(gates(circuit), gates(bind(circuit, VALUES)), strict=True):
        assert (one[0], one[2]) == (other[0], other[2])
        np.testing.assert_allclose(one[1], other[1], rtol=1e-14)


def test_serialization_keeps_parameters() -> None:
    for circuit in (nested(), read("ctrl @ u3(x, y, x) q[0], q[1]; ctrl(1) @ rx(sin(x) / y) q[0], q[1];")):
        data = serialization.dump(circuit)
        assert data is not None
        again = serialization.load(data)
        assert again.parameters == circuit.parameters
        first, second = bind(again, VALUES), bind(circuit, VALUES)
        assert reference_simulator.close(
            reference_simulator.distribution(first), reference_simulator.distribution(second), 1e-12
        )
        for one, other in zip(first.quantum.data[:3], second.quantum.data[:3], strict=True):
            np.testing.assert_allclose(one.params, other.params, rtol=1e-14)
