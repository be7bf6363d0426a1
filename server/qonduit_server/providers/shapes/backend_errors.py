# SPDX-License-Identifier: Apache-2.0
"""A backend's compilation target and errors, from its calibration; errors are made for the qubits that are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from qiskit.circuit import Delay, IfElseOp, Instruction, Measure, QuantumCircuit, Reset, WhileLoopOp
from qiskit.circuit.controlflow import BreakLoopOp, ContinueLoopOp
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, QubitProperties, Target
from qiskit_aer.noise import NoiseModel, ReadoutError, thermal_relaxation_error
from qiskit_aer.noise.device import basic_device_gate_errors

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit_server.errors import DeviceError
from qonduit_server.ir import noise
from qonduit_server.providers.shapes.backend_files import Backend
from qonduit_server.providers.shapes.measured_errors import MEASURE, MeasuredErrors, readout_error

_UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}
_CONTROL_FLOW: Final = {
    "if_else": IfElseOp,
    "while_loop": WhileLoopOp,
    "break_loop": BreakLoopOp,
    "continue_loop": ContinueLoopOp,
}
#: How many noise models are kept.
_MODELS: Final = 32
#: Take no place on the device.
_CLASSICAL: Final = frozenset(("barrier", "store"))

Operations = Iterable[tuple[Instruction, Sequence[int]]]


class BackendErrors:
    """What a calibration means: where circuits may run, and what goes wrong there.

    The errors are those of `NoiseModel.from_backend`, which makes them for all qubits: seconds for 156.

    Args:
        backend: the shape.
        calibration: the measured properties.
    """

    def __init__(self, backend: Backend, calibration: DeviceCalibration) -> None:
        self._dt = backend.dt
        self._measured = MeasuredErrors(calibration)
        self._qubits = calibration.qubits
        self._properties = [QubitProperties(t1=_known(q, "t1"), t2=_known(q, "t2")) for q in calibration.qubits]
        self._kinds: dict[str, Instruction] = {**get_standard_gate_name_mapping(), "reset": Reset()}
        self._known: dict[tuple[str, tuple[int, ...]], Any] = {}
        #: Noise models by operations and places: the points of a sweep have the same.
        self._models: dict[object, NoiseModel] = {}
        self.target = self._target(backend)

    def _target(self, backend: Backend) -> Target:
        number = backend.num_qubits
        target = Target(num_qubits=number, dt=backend.dt, qubit_properties=self._properties)
        for name, places in backend.gate_qubits.items():
            target.add_instruction(self._kinds[name], {on: self._instruction(name, on) for on in places})
        every = [(qubit,) for qubit in range(number)]
        target.add_instruction(
            Measure(),
            {
                (qubit.qubit,): InstructionProperties(
                    duration=_known(qubit, "readout_duration"), error=readout_error(qubit)
                )
                for qubit in self._qubits
            },
        )
        target.add_instruction(Reset(), {on: self._instruction("reset", on) for on in every})
        target.add_instruction(self._delay(), dict.fromkeys(every))
        for name, kind in _CONTROL_FLOW.items():
            target.add_instruction(kind, name=name)
        return target

    @staticmethod
    def _delay() -> Delay:
        from qiskit.circuit import Parameter

        return Delay(Parameter("t"))

    def _instruction(self, name: str, on: tuple[int, ...]) -> InstructionProperties | None:
        gate = self._measured.gate(name, on)
        if gate is None:
            return None
        return InstructionProperties(duration=_known(gate, "duration"), error=_known(gate, "error"))

    def runs(self, circuit: QuantumCircuit) -> bool:
        """Return whether a circuit has native gates only, on qubits that have them."""
        from qonduit_server.providers.shapes.active_qubits import each_operation

        supported = self.target.instruction_supported
        return all(
            operation.name in _CLASSICAL
            or operation.name in _CONTROL_FLOW
            # By class too: a program may define a gate of its own under the name of a native one.
            or (
                operation.base_class is self.target.operation_from_name(operation.name).base_class
                and supported(operation.name, on)
                if operation.name in self.target.operation_names
                else False
            )
            for operation, on in each_operation(circuit)
        )

    def success_probability(self, operations: Operations) -> float:
        """Return the product of 1 - error over operations."""
        return self._measured.success_probability((operation.name, on) for operation, on in operations)

    def noise_model(self, operations: Operations, active: Mapping[int, int]) -> NoiseModel:
        """Return the errors of operations on the device's qubits, for the places that `active` gives to them."""
        used = frozenset((operation.name, tuple(on)) for operation, on in operations)
        key = (used, tuple(active.items()))
        if key not in self._models:
            while len(self._models) >= _MODELS:
                self._models.pop(next(iter(self._models)))
            self._models[key] = self._noise_model(used, active)
        return self._models[key]

    def _noise_model(self, used: frozenset[tuple[str, tuple[int, ...]]], active: Mapping[int, int]) -> NoiseModel:
        self._make([each for each in used if self._measured.gate(*each) is not None and each not in self._known])
        model = NoiseModel(basis_gates=sorted(self.target.operation_names))
        for name, on in sorted(used):
            error = self._known.get((name, on))
            if error is not None:
                model.add_quantum_error(error, name, [active[place] for place in on])
            if name == MEASURE:
                qubit = self._qubits[on[0]]
                wrong = (qubit.prob_1_given_0, qubit.prob_0_given_1)
                model.add_readout_error(
                    ReadoutError([[1 - wrong[0], wrong[0]], [wrong[1], 1 - wrong[1]]]), [active[on[0]]]
                )
        return model

    def readout(self, sources: Mapping[int, int], used: Sequence[int]) -> dict[int, list[noise.ReadoutError]]:
        """Return the readout errors of classical bits.

        Args:
            sources: the place of the measured qubit of each bit.
            used: the device's qubit of each place.
        """
        found = {}
        for bit, place in sources.items():
            qubit = self._qubits[used[place]]
            found[bit] = [noise.ReadoutError(qubit.prob_1_given_0, qubit.prob_0_given_1)]
        return found

    def _make(self, wanted: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        """Make the errors of gates as Aer does for a whole backend."""
        part = Target(num_qubits=len(self._properties), qubit_properties=self._properties)
        for name in sorted({name for name, _ in wanted}):
            places = {on: self._instruction(name, on) for each, on in wanted if each == name}
            part.add_instruction(self._kinds[name], places)
        self._known.update(dict.fromkeys(wanted))
        for name, on, error in basic_device_gate_errors(target=part):
            self._known[name, tuple(on)] = error

    def follow(self, operation: Instruction, on: Sequence[int]) -> Instruction | None:
        """Return the relaxation during a delay."""
        if operation.name != "delay":
            return None
        qubit = self._properties[on[0]]
        if qubit.t1 is None or qubit.t2 is None:
            return None
        unit = self._dt if operation.unit == "dt" else _UNITS.get(operation.unit)
        if unit is None:
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"a delay must have a fixed duration, got {operation.duration}")
        duration = float(operation.duration) * unit
        return thermal_relaxation_error(qubit.t1, min(qubit.t2, 2 * qubit.t1), duration).to_instruction()


def _known(message: Any, name: str) -> float | None:
    return getattr(message, name) if message.HasField(name) else None
