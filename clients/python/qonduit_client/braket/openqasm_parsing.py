# SPDX-License-Identifier: Apache-2.0
"""Parse and check programs with the interpreter of Braket's local simulators, without simulating them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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

from qonduit_client.braket.adjoint_gradients import (
    Gradient,
    estimated_gradient,
    gradient_result,
    without_gradients,
)
from qonduit_client.braket.exact_values import FEWEST_QUBITS, Estimated, Estimation, estimated
from qonduit_client.braket.openqasm_writing import (
    MEASURED,
    Gate,
    Matrix,
    Noise,
    Reset,
    controlled,
    purified,
    symbols_of,
    write,
)

#: Sampled paths through a program with mid-circuit measurements; they only need to reach its measurements.
_PATHS: Final = 8
#: The register in which the server returns measurements without a declared bit.
_UNNAMED: Final = "meas"
#: Gates that servers run without their global phase; they are sent as matrices, which keep it.
_WITH_PHASE: Final = frozenset(("gpi",))
#: Result types that a mixed state does not have.
_PURE: Final = frozenset(("statevector", "amplitude"))


@dataclass(frozen=True)
class Plan:
    """One program as sent to the server, and the data to build its result.

    Attributes:
        program: the original program.
        text: as sent to the server: unrolled, with bound inputs, without result pragmas. A program with operations
            after measurements is sent unchanged.
        inputs: values for the inputs of the text.
        shots: the number of shots; 0 for exact results from its state.
        qubits: the number of used qubits.
        measured: the measured qubits, in order.
        reported_qubits: the same, as the local simulator reports them: without measurements in the program, they are
            numbered from 0 without gaps.
        bits: the register and its bits with their values.
        asked: the requested result types.
        exact: the same, as functions of a state.
        estimation: the same, as functions of expectation values; None if one of them requires the state.
        phase: the global phase of the state in radians, which servers omit.
        noisy: whether the state has further qubits, which are traced out.
        stored: the data from which another process builds the task, as values of JSON: source and inputs, or the
            programs of a set. None: the task is built from another program of its set.
    """

    program: Program
    text: str
    inputs: dict[str, Any]
    shots: int
    qubits: int
    measured: list[int]
    reported_qubits: list[int]
    bits: tuple[str, list[int]]
    asked: list[Any] = field(default_factory=list)
    exact: list[ResultType] = field(default_factory=list)
    estimation: Estimation | None = None
    phase: float = 0.0
    noisy: bool = False
    stored: Sequence[Any] | None = None


class Reader(StateVectorSimulator):  # type: ignore[misc]
    """A Braket simulator that parses and checks programs for a server to run.

    Args:
        device: "PROVIDER/device".
        properties: the capabilities of the device.
        estimates: whether the device estimates exact values.
    """

    def __init__(self, device: str, properties: GateModelSimulatorDeviceCapabilities, estimates: bool) -> None:
        self.DEVICE_ID = device
        self._properties = properties
        self._estimates = estimates

    @property
    def properties(self) -> GateModelSimulatorDeviceCapabilities:
        """The capabilities of the device."""
        return self._properties

    def create_program_context(self) -> ProgramContext:
        """Return the context of the interpreter."""
        return _Recording()

    def _validate_ir_instructions_compatibility(self, circuit_ir: Any, device_action_type: DeviceActionType) -> None:
        """Accept noise for any device: a server that rejects it lists the devices that run it."""

    def plan(self, program: Program, shots: int, estimated: bool | None = None) -> Plan:
        """Parse a program.

        Args:
            program: the program.
            shots: the number of shots; 0 for exact results.
            estimated: whether exact results come from expectation values where these suffice; by default those of wide
                programs.

        Raises:
            ValueError, TypeError, NameError, IndexError ...: as Braket's local simulator.
        """
        read, gradients = without_gradients(program)
        if gradients and (shots or not self._estimates):
            reason = "with shots: use shots=0" if shots else f"by {self.DEVICE_ID}"
            raise TypeError(f"result type AdjointGradient is not supported {reason}")
        context = self.parse_program(read)
        circuit = context.circuit
        circuit.validate_single_measured_register()
        if context.is_branched or context.continues_after_measuring:
            return self._unchanged(program, shots, circuit)
        if not circuit.qubit_set:
            raise ValueError("Program must have at least one non-zero-qubit gate to run on a device")
        asked = copy.deepcopy(circuit.results)
        measured = circuit.measured_qubits
        # As in `BaseLocalSimulator.run_openqasm` of amazon-braket-default-simulator 1.41.
        places = self._map_circuit_to_contiguous_qubits(circuit)
        self._validate_ir_results_compatibility(circuit.results, device_action_type=DeviceActionType.OPENQASM)
        self._validate_ir_instructions_compatibility(circuit, device_action_type=DeviceActionType.OPENQASM)
        names = sorted(symbols_of(each for step in context.steps if isinstance(step, Gate) for each in step.parameters))
        values = program.inputs or {}
        if missing := [name for name in names if name not in values or not gradients]:
            raise NameError(f"Missing input variable '{missing[0]}'.")
        self._validate_shots_and_ir_results(shots, circuit.results, len(places))
        exact: list[ResultType] = []
        steps = list(context.steps)
        noisy = not shots and any(isinstance(step, Noise) for step in steps)
        further = 0
        if not shots:
            exact = self._translate_result_types(circuit.results)
            self._validate_result_types_qubits_exist(
                [each for each in exact if isinstance(each, TargetedResultType)], len(places)
            )
            if noisy:
                self._check_mixed(circuit.results)
                steps, further = purified(steps)
                self._check_width(len(places), further)
        elif circuit.results:
            qubits = sorted(places)
            steps += [
                Matrix(each.matrix, tuple(qubits[target] for target in each.targets))
                for each in circuit.basis_rotation_instructions
            ]
        shown = measured or sorted(places)
        numbers = places | {-1 - place: len(places) + place for place in range(further)}
        text = write(steps, numbers, [places[qubit] for qubit in shown] if shots else (), names)
        estimation = None
        wide = len(numbers) >= FEWEST_QUBITS if estimated is None else estimated
        if not shots and self._estimates and (gradients or wide):
            asked, estimation = self._estimation(asked, circuit.results, gradients, names, values, len(places))
        return Plan(
            program=program,
            stored=(program.source, program.inputs),
            text=text,
            inputs={},
            shots=shots,
            qubits=len(places),
            measured=shown,
            reported_qubits=measured or list(range(len(places))),
            bits=(MEASURED, list(range(len(shown)))),
            asked=asked,
            exact=exact,
            estimation=estimation,
            phase=context.phase,
            noisy=noisy,
        )

    def _estimation(
        self,
        asked: Sequence[Any],
        results: Sequence[Any],
        gradients: Sequence[Gradient],
        names: Sequence[str],
        inputs: Mapping[str, Any],
        qubits: int,
    ) -> tuple[list[Any], Estimation | None]:
        """Return result types with gradients in place of their terms, and all of them as functions of expectations.

        Args:
            asked: result types on the qubits of the program, with the terms of gradients in their place.
            results: the same, on qubits from 0 without gaps.
            gradients: the gradients.
            names: the inputs by which values are differentiated.
            inputs: the values of inputs.
            qubits: the number of qubits.

        Raises:
            TypeError: a result type beside a gradient requires the state.
        """
        shown: list[Any] = []
        found: list[Estimated] = []
        begins = {each.first: each for each in gradients}
        place = 0
        while place < len(results):
            gradient = begins.get(place)
            own = slice(place, place + (len(gradient.coefficients) if gradient else 1))
            place = own.stop
            if gradient:
                shown.append(gradient_result(gradient, asked[own]))
                found.append(estimated_gradient(gradient, results[own], qubits, names))
                continue
            shown += asked[own]
            single = estimated(results[own], qubits)
            if single is None and gradients:
                raise TypeError(
                    f"result type {asked[own][0].type} is not supported beside AdjointGradient: run it alone"
                )
            found += single or []
        if len(found) < len(shown):
            return shown, None
        return shown, Estimation(found, names, [float(inputs[name]) for name in names])

    def _check_mixed(self, results: Sequence[Any]) -> None:
        """Refuse result types of pure states."""
        for each in results:
            if each.type in _PURE:
                raise TypeError(f"result type {each.type} is not supported with noise: request density_matrix")

    def _check_width(self, qubits: int, further: int) -> None:
        most = self._properties.paradigm.qubitCount
        if qubits + further > most:
            raise ValueError(
                f"with shots=0, the noise of this program takes {further} qubits besides its {qubits}; "
                f"{self.DEVICE_ID} has {most}: pass a number of shots"
            )

    def _unchanged(self, program: Program, shots: int, circuit: Any) -> Plan:
        """Return a plan that sends the program unchanged: operations follow its measurements."""
        if not shots:
            raise ValueError(
                "Results with shots=0 come from the state before the final measurements; this program uses qubits or "
                "bits after measuring them: run it with shots"
            )
        slots = circuit.measurement_slots
        if not slots:
            raise ValueError("The program stores no measurement: measure into a declared bit")
        register = slots[0][0]
        return Plan(
            program=program,
            stored=(program.source, program.inputs),
            text=program.source,
            inputs=dict(program.inputs or {}),
            shots=shots,
            qubits=len(circuit.qubit_set),
            measured=[qubit for _, _, qubit in slots],
            reported_qubits=[qubit for _, _, qubit in slots],
            bits=(register.name or _UNNAMED, [element for _, element, _ in slots]),
        )


class _Recording(ProgramContext):  # type: ignore[misc]
    """Records the program as steps without definitions, loops and inputs."""

    def __init__(self) -> None:
        super().__init__(simulator=_Coin())
        self._shots = _PATHS
        self._shown: set[int] = set()
        self.steps: list[Gate | Matrix | Noise | Reset] = []
        self.phase = 0.0
        self.continues_after_measuring = False

    def add_gate_instruction(
        self, gate_name: str, target: tuple[int, ...], params: Any, ctrl_modifiers: list[int], power: float
    ) -> None:
        super().add_gate_instruction(gate_name, target, params, ctrl_modifiers, power)
        if symbols_of(params):
            if power != int(power) or (gate_name in _WITH_PHASE and ctrl_modifiers):
                raise ValueError(f"adjoint_gradient is not supported for a root of {gate_name}, or controls of it")
            self._add(Gate(gate_name, params, tuple(target), tuple(ctrl_modifiers), int(power)))
        elif power != int(power) or gate_name in _WITH_PHASE:
            # A root has several values: use the one of Braket's simulator.
            matrix = BRAKET_GATES[gate_name](target[len(ctrl_modifiers) :], *params, power=power).matrix
            self._add(controlled(matrix, ctrl_modifiers, tuple(target)))
        else:
            self._add(Gate(gate_name, params, tuple(target), tuple(ctrl_modifiers), int(power)))

    def add_custom_unitary(self, unitary: Any, target: tuple[int, ...]) -> None:
        super().add_custom_unitary(unitary, target)
        self._add(Matrix(unitary, tuple(target)))

    def add_noise_instruction(self, noise_instruction: str, target: list[int], probabilities: list[float]) -> None:
        super().add_noise_instruction(noise_instruction, target, probabilities)
        self._add(Noise(noise_instruction, probabilities, tuple(target), self.circuit.instructions[-1].matrices))

    def add_kraus_instruction(self, matrices: list[Any], target: list[int]) -> None:
        super().add_kraus_instruction(matrices, target)
        self._add(Noise("kraus", (), tuple(target), matrices))

    def add_phase_instruction(self, target: Any, phase_value: float) -> None:
        super().add_phase_instruction(target, phase_value)
        if not symbols_of([phase_value]):  # expectation values do not depend on the phase
            self.phase += float(phase_value)

    def add_reset(self, target: list[int]) -> None:
        super().add_reset(target)
        self._add(Reset(tuple(target)))

    def add_measure(
        self, target: tuple[int, ...], classical_targets: Any = None, *, classical_destination: Any = None
    ) -> None:
        super().add_measure(target, classical_targets, classical_destination=classical_destination)
        if classical_destination is None:
            # The base class handles measurements with a destination.
            self._shown.update(target)

    def _add(self, step: Gate | Matrix | Noise | Reset) -> None:
        self.continues_after_measuring = self.continues_after_measuring or not self._shown.isdisjoint(step.qubits)
        self.steps.append(step)


class _Coin:
    """Replaces the simulator that the interpreter uses for mid-circuit measurements."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)  # the same paths each time a program is parsed

    def initialize_simulation(self, qubit_count: int, shots: int, batch_size: int) -> _Tossed:
        """Return a simulation without a state."""
        return _Tossed(qubit_count, shots, self._random)


class _Tossed(Simulation):  # type: ignore[misc]
    """A simulation with random measurement outcomes."""

    def __init__(self, qubit_count: int, shots: int, random: np.random.Generator) -> None:
        super().__init__(qubit_count, shots)
        self._random = random

    def evolve(self, operations: Sequence[Any]) -> None:
        """Do nothing."""

    def retrieve_samples(self) -> list[int]:
        """Return all ones or all zeros for each shot."""
        ones = (1 << self.qubit_count) - 1
        return [ones if toss < 0.5 else 0 for toss in self._random.random((self.shots,))]
