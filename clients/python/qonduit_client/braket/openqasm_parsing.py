# SPDX-License-Identifier: Apache-2.0
"""Programs read and checked as Braket's local simulators do it, by their own interpreter, up to where they simulate."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from braket.default_simulator.gate_operations import BRAKET_GATES
from braket.default_simulator.openqasm.program_context import ProgramContext
from braket.default_simulator.result_types import ResultType, TargetedResultType
from braket.default_simulator.simulation import Simulation
from braket.default_simulator.state_vector_simulator import StateVectorSimulator
from braket.device_schema import DeviceActionType
from braket.device_schema.simulators import GateModelSimulatorDeviceCapabilities
from braket.ir.openqasm import Program

from qonduit_client.braket.openqasm_writing import MEASURED, Gate, Matrix, Reset, controlled, write

#: Ways through a program that goes on with what it measured; they only have to meet its measurements.
_WAYS: Final = 8
#: The register in which the server shows what a program measures into no bit.
_UNNAMED: Final = "meas"
#: Gates that servers know but for their global phase; that of a matrix is kept.
_WITH_PHASE: Final = frozenset(("gpi",))
_GRADIENT: Final = re.compile(r"^\s*#pragma\s+braket\s+result\s+adjoint_gradient\b", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """One program as the server gets it, and how its result is to be told.

    Attributes:
        program: as it was handed in.
        text: as the server gets it: unrolled, with numbers for inputs, without what asks for results. A program that
            goes on after measuring is sent as it is.
        inputs: values for the inputs of the text.
        shots: how often it is run; 0 for exact results from its state.
        qubits: how many it uses.
        measured: the qubits that are measured, in order.
        told: the same, as the local simulator tells them: without measurements in the program, these are counted
            from 0, even if numbers are left out.
        bits: the register and its bits in which their values are.
        asked: the results that the program asks for.
        exact: how these come from a state.
        phase: the global phase that the state has besides, in radians: servers leave it out.
    """

    program: Program
    text: str
    inputs: dict[str, Any]
    shots: int
    qubits: int
    measured: list[int]
    told: list[int]
    bits: tuple[str, list[int]]
    asked: list[Any] = field(default_factory=list)
    exact: list[ResultType] = field(default_factory=list)
    phase: float = 0.0


class Reader(StateVectorSimulator):  # type: ignore[misc]
    """A simulator of Braket's that reads and checks, and leaves it to a server to simulate.

    Args:
        device: "PROVIDER/device".
        properties: what the device can do.
    """

    def __init__(self, device: str, properties: GateModelSimulatorDeviceCapabilities) -> None:
        self.DEVICE_ID = device
        self._properties = properties

    @property
    def properties(self) -> GateModelSimulatorDeviceCapabilities:
        """What the device can do."""
        return self._properties

    def create_program_context(self) -> ProgramContext:
        """Return the object that the interpreter reports to."""
        return _Recording()

    def plan(self, program: Program, shots: int) -> Plan:
        """Read a program.

        Raises:
            ValueError, TypeError, NameError, IndexError ...: what Braket's local simulator raises for it.
        """
        if _GRADIENT.search(program.source):  # the interpreter would take it for an expectation
            raise TypeError(f"result type AdjointGradient is not supported by {self.DEVICE_ID}")
        context = self.parse_program(program)
        circuit = context.circuit
        circuit.validate_single_measured_register()
        if context.is_branched or context.goes_on:
            return self._as_it_is(program, shots, circuit)
        if not circuit.qubit_set:
            raise ValueError("Program must have at least one non-zero-qubit gate to run on a device")
        asked = copy.deepcopy(circuit.results)
        measured = circuit.measured_qubits
        # From here on as in `BaseLocalSimulator.run_openqasm` of amazon-braket-default-simulator 1.41.
        places = self._map_circuit_to_contiguous_qubits(circuit)
        self._validate_ir_results_compatibility(circuit.results, device_action_type=DeviceActionType.OPENQASM)
        self._validate_ir_instructions_compatibility(circuit, device_action_type=DeviceActionType.OPENQASM)
        self._validate_input_provided(circuit)
        self._validate_shots_and_ir_results(shots, circuit.results, len(places))
        exact: list[ResultType] = []
        steps = list(context.steps)
        if not shots:
            exact = self._translate_result_types(circuit.results)
            self._validate_result_types_qubits_exist(
                [each for each in exact if isinstance(each, TargetedResultType)], len(places)
            )
        elif circuit.results:
            qubits = sorted(places)
            steps += [
                Matrix(each.matrix, tuple(qubits[target] for target in each.targets))
                for each in circuit.basis_rotation_instructions
            ]
        shown = measured or sorted(places)
        text = write(steps, places, [places[qubit] for qubit in shown] if shots else ())
        return Plan(
            program=program,
            text=text,
            inputs={},
            shots=shots,
            qubits=len(places),
            measured=shown,
            told=measured or list(range(len(places))),
            bits=(MEASURED, list(range(len(shown)))),
            asked=asked,
            exact=exact,
            phase=context.phase,
        )

    def _as_it_is(self, program: Program, shots: int, circuit: Any) -> Plan:
        """Return a plan that leaves the program to the server: its measurements are followed by more operations."""
        if not shots:
            raise ValueError(
                "Results with shots=0 come from the state before the final measurements; this program goes on with "
                "qubits or bits that it has measured: run it with shots"
            )
        slots = circuit.measurement_slots
        if not slots:
            raise ValueError("The program shows none of its measurements: measure into a declared bit")
        register = slots[0][0]
        return Plan(
            program=program,
            text=program.source,
            inputs=dict(program.inputs or {}),
            shots=shots,
            qubits=len(circuit.qubit_set),
            measured=[qubit for _, _, qubit in slots],
            told=[qubit for _, _, qubit in slots],
            bits=(register.name or _UNNAMED, [element for _, element, _ in slots]),
        )


class _Recording(ProgramContext):  # type: ignore[misc]
    """What the interpreter has read, also as the steps of a program without definitions, loops and inputs."""

    def __init__(self) -> None:
        super().__init__(simulator=_Coin())
        self._shots = _WAYS
        self._shown: set[int] = set()
        self.steps: list[Gate | Matrix | Reset] = []
        self.phase = 0.0
        self.goes_on = False

    def add_gate_instruction(
        self, gate_name: str, target: tuple[int, ...], params: Any, ctrl_modifiers: list[int], power: float
    ) -> None:
        super().add_gate_instruction(gate_name, target, params, ctrl_modifiers, power)
        if power != int(power) or gate_name in _WITH_PHASE:
            # A root has several values: Braket's simulator chooses.
            matrix = BRAKET_GATES[gate_name](target[len(ctrl_modifiers) :], *params, power=power).matrix
            self._add(controlled(matrix, ctrl_modifiers, tuple(target)))
        else:
            self._add(Gate(gate_name, params, tuple(target), tuple(ctrl_modifiers), int(power)))

    def add_custom_unitary(self, unitary: Any, target: tuple[int, ...]) -> None:
        super().add_custom_unitary(unitary, target)
        self._add(Matrix(unitary, tuple(target)))

    def add_phase_instruction(self, target: Any, phase_value: float) -> None:
        super().add_phase_instruction(target, phase_value)
        self.phase += float(phase_value)

    def add_reset(self, target: list[int]) -> None:
        super().add_reset(target)
        self._add(Reset(tuple(target)))

    def add_measure(
        self, target: tuple[int, ...], classical_targets: Any = None, *, classical_destination: Any = None
    ) -> None:
        super().add_measure(target, classical_targets, classical_destination=classical_destination)
        if classical_destination is None:
            # The base class sees to those with a destination.
            self._shown.update(target)

    def _add(self, step: Gate | Matrix | Reset) -> None:
        self.goes_on = self.goes_on or not self._shown.isdisjoint(step.qubits)
        self.steps.append(step)


class _Coin:
    """In the place of the simulator that the interpreter asks for measurements which decide what follows."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)  # the same ways each time a program is read

    def initialize_simulation(self, qubit_count: int, shots: int, batch_size: int) -> _Tossed:
        """Return a simulation without a state."""
        return _Tossed(qubit_count, shots, self._random)


class _Tossed(Simulation):  # type: ignore[misc]
    """Measurements that are tossed: any of them may give anything."""

    def __init__(self, qubit_count: int, shots: int, random: np.random.Generator) -> None:
        super().__init__(qubit_count, shots)
        self._random = random

    def evolve(self, operations: Sequence[Any]) -> None:
        """Do nothing."""

    def retrieve_samples(self) -> list[int]:
        """Return for each shot all ones or all zeros."""
        ones = (1 << self.qubit_count) - 1
        return [ones if toss < 0.5 else 0 for toss in self._random.random((self.shots,))]
