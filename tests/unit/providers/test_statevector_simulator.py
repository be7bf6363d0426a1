# SPDX-License-Identifier: Apache-2.0
"""The base of statevector simulators: five methods over any SDK implement a full provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.circuit import Instruction
from qiskit.quantum_info import Operator

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import DeviceError, ProviderError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompileOptions, SimulatorProvider
from qonduit_server.providers.simulation.group_states import State
from qonduit_server.providers.simulation.sampling import born_probabilities, marginal
from qonduit_server.providers.simulation.statevector_simulator import DeferredCircuit, StatevectorSimulator
from qonduit_server.providers.simulation.steps import Gate

HEADER = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; '


class Arrays(StatevectorSimulator):
    """A simulator whose SDK is NumPy: gates are matrices."""

    name = "ARRAYS"
    device = "array"
    extra = "arrays"
    distributions = ("numpy",)
    basis_gates = ("h", "cx", "x")
    run_bytes = probabilities_bytes = statevector_bytes = 64

    def import_sdk(self) -> Mapping[str, object]:
        return {"sdk": "numpy", "method": "matrices"}

    def is_native(self, operation: Instruction) -> bool:
        return operation.name in self.basis_gates

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        return [[(Operator(gate).data, places) for gate, places in run] for run in runs]

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        for matrix, places in run:
            size = len(places)
            axes = [*reversed(places)]  # the first qubit of a matrix is the lowest
            moved = np.moveaxis(state, axes, range(size))
            moved = (matrix @ moved.reshape(1 << size, -1)).reshape(moved.shape)
            state = np.moveaxis(moved, range(size), axes)
        return state

    def distribution(self, circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
        qubits = circuit.deferred.qubits
        state: State = np.zeros((2,) * qubits, dtype=np.complex128)
        state[(0,) * qubits] = 1.0
        return marginal(
            born_probabilities(self.evolve(state, circuit.gates, qubits)), qubits, circuit.deferred.measured
        )


@pytest.fixture
def simulator() -> SimulatorProvider:
    return Arrays()


def read(text: str) -> Circuit:
    return Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, HEADER + text, b"", {})


def run(simulator: SimulatorProvider, text: str) -> Outcome:
    (outcome,) = simulator.run("array", [simulator.compile(read(text), "array")], 400, 3)
    assert isinstance(outcome, Outcome)
    return outcome


def test_it_is_described_by_its_attributes(simulator: SimulatorProvider) -> None:
    description = simulator.describe()
    (device,) = description.devices
    assert (description.provider.name, device.name, description.unavailable) == ("ARRAYS", "array", "")
    assert device.status_message == f"numpy {np.__version__}"
    assert list(device.basis_gates) == ["h", "cx", "x"]


def test_measurements_at_the_end_are_sampled_from_the_exact_distribution(simulator: SimulatorProvider) -> None:
    outcome = run(simulator, "h q[0]; cx q[0], q[1]; c = measure q;")
    assert set(outcome.counts) == {0, 3}
    assert sum(outcome.counts.values()) == 400
    assert outcome.meta_data["method"] == "matrices"
    assert outcome.meta_data["seed"] == 3
    exact = simulator.probabilities("array", simulator.compile(read("x q[1]; h q[0]; c = measure q;"), "array"))
    assert exact == pytest.approx({2: 0.5, 3: 0.5})


def test_loops_that_depend_on_measurements_branch(simulator: SimulatorProvider) -> None:
    circuit = read("h q[0]; c[0] = measure q[0]; while (c[0]) { h q[0]; c[0] = measure q[0]; }")
    compiled = simulator.compile(circuit, "array")
    (outcome,) = simulator.run("array", [compiled], 200, 3)
    assert isinstance(outcome, Outcome)
    (register,) = circuit.registers
    last = register.bits[0]  # of the IR circuit: the bit that c[0] stands for once the loop has ended
    assert {value >> last & 1 for value in outcome.counts} == {0}
    assert sum(outcome.counts.values()) == 200
    assert "branching" in str(outcome.meta_data["method"])
    assert simulator.probabilities("array", compiled) is None


def test_statevectors_count_the_first_qubit_as_the_lowest_bit(simulator: SimulatorProvider) -> None:
    compiled = simulator.compile(read("x q[0];"), "array", CompileOptions(statevector=True))
    assert simulator.statevector("array", compiled) == pytest.approx(np.array([0, 1, 0, 0]))


def test_another_device_is_refused_by_name(simulator: SimulatorProvider) -> None:
    with pytest.raises(DeviceError, match="ARRAYS has no device other; it has array"):
        simulator.compile(read("c = measure q;"), "other")


def test_an_sdk_that_cannot_be_imported_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Arrays) -> Mapping[str, object]:
        raise ImportError("no module named numpy")

    monkeypatch.setattr(Arrays, "import_sdk", missing)
    with pytest.raises(ProviderError, match=r"qonduit-quantum\[arrays\]") as caught:
        Arrays().load()
    assert caught.value.reason == "SDK_MISSING"
