# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket's statevector simulator on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from qonduit_server.errors import ProviderError
from qonduit_server.ir.braket_names import BRAKET_NAMES
from qonduit_server.ir.lowering import standard_gate_classes
from qonduit_server.providers.provider import installed_version
from qonduit_server.providers.simulation.statevector_simulator import DeferredCircuit, StatevectorSimulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction

    from qonduit_server.providers.simulation.group_states import State
    from qonduit_server.providers.simulation.steps import Gate

#: complex128: the state that is given, two that gates are applied between, and room for a gate. Measured: 69 with
#: 2^21 amplitudes, 64 with 2^22, for the simulator takes some memory beside them.
_BYTES_PER_AMPLITUDE: Final = 72


class BraketStatevector(StatevectorSimulator):
    """Braket's local simulator."""

    name = "AWS"
    device = "local_simulator"
    extra = "aws"
    distributions = ("amazon-braket-default-simulator", "amazon-braket-sdk")
    status_suffix = ", engine braket_sv"
    basis_gates = tuple(sorted(BRAKET_NAMES))
    run_bytes = probabilities_bytes = statevector_bytes = _BYTES_PER_AMPLITUDE

    def import_sdk(self) -> Mapping[str, object]:
        """Import the SDK; return the metadata that all results carry."""
        from braket.default_simulator.gate_operations import BRAKET_GATES
        from braket.default_simulator.simulation_strategies import single_operation_strategy
        from braket.default_simulator.state_vector_simulator import StateVectorSimulator
        from braket.ir.openqasm import Program

        self._classes = standard_gate_classes()
        self._gates = BRAKET_GATES
        self._program = Program
        self._apply = single_operation_strategy.apply_operations
        self._simulator = StateVectorSimulator()
        return {
            "sdk": "amazon-braket-sdk",
            "sdk_version": installed_version("amazon-braket-sdk"),
            "simulator_version": installed_version("amazon-braket-default-simulator"),
            "engine": "braket_sv",
            "method": "statevector",
        }

    def is_native(self, operation: Instruction) -> bool:
        """Return whether the SDK has a gate as it is."""
        # By name and by class: a program may define a gate of its own under the name of one that Braket has.
        return operation.name in BRAKET_NAMES and operation.base_class in self._classes

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Return the runs of gates as the SDK takes them."""
        # One parse of all runs.
        lines = [_line(*gate) for run in runs for gate in run]
        if not lines:
            return [()] * len(runs)
        text = "\n".join(("OPENQASM 3.0;", f"qubit[{qubits}] q;", *lines))
        operations = self._simulator.parse_program(self._program(source=text)).circuit.instructions
        if len(operations) != len(lines):
            raise ProviderError("SDK_CHANGED", f"Braket read {len(lines)} gates as {len(operations)} operations")
        ends = list(accumulate(len(run) for run in runs))
        return [operations[end - len(run) : end] for run, end in zip(runs, ends, strict=True)]

    def gate(self, gate: Instruction, angles: Sequence[float], places: Sequence[int]) -> Any:
        """Convert one gate; see `StatevectorSimulator`."""
        # What the SDK makes of the gate's line, without reading it.
        return self._gates[BRAKET_NAMES[gate.name]](tuple(places), *angles)

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Return a state after one run of gates."""
        evolved: State = self._apply(state, state.ndim, run)
        return evolved

    def distribution(self, circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
        """Return the probabilities of the measured qubits."""
        from qonduit_server.providers.simulation.sampling import marginal

        qubits = circuit.deferred.qubits
        simulation = self._simulator.initialize_simulation(qubit_count=qubits, shots=1, batch_size=1)
        simulation.evolve(circuit.gates)
        probabilities = simulation.probabilities
        del simulation
        return marginal(probabilities, qubits, circuit.deferred.measured)


def _line(gate: Instruction, qubits: tuple[int, ...]) -> str:
    parameters = f"({', '.join(repr(float(each)) for each in gate.params)})" if gate.params else ""
    return f"{BRAKET_NAMES[gate.name]}{parameters} {', '.join(f'q[{qubit}]' for qubit in qubits)};"
