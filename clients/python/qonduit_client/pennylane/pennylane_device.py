# SPDX-License-Identifier: Apache-2.0
"""The PennyLane device "qonduit": any device of a Qonduit server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    device_resolve_dynamic_wires,
    validate_adjoint_trainable_params,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError
from pennylane.measurements import ClassicalShadowMP, ExpectationMP, SampleMeasurement, ShadowExpvalMP, StateMeasurement
from pennylane.ops import CompositeOp, SymbolicOp
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, convert_to_numpy_parameters, defer_measurements
from pennylane.transforms.core import CompilePipeline

from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.errors import QonduitError
from qonduit_client.estimates import estimate_of
from qonduit_client.pennylane.execution_jobs import ExecutionJobs
from qonduit_client.pennylane.expectations import (
    distinct,
    estimator_of,
    from_gradients,
    from_values,
    is_differentiable,
    is_estimated,
    trainable_angles,
)
from qonduit_client.pennylane.outcomes import from_shots, from_state
from qonduit_client.pennylane.pennylane_gates import decomposed
from qonduit_client.pennylane.splitting import SPLITTING, rotations
from qonduit_client.pennylane.tape_programs import Known, Program, program_of
from qonduit_client.pennylane.tape_sweeps import Wanted, sweeps_of
from qonduit_client.shots import sampled_bits_of
from qonduit_client.simulation_options import Simulation

#: The names of methods of differentiation that mean that of the device.
_DEVICE_GRADIENTS: Final = ("adjoint", "device", "best")
#: Methods of mid-circuit measurements: "deferred" uses more wires; the others measure on the device.
_METHODS: Final = ("deferred", "one-shot", "device")


@simulator_tracking
@single_tape_support
class QonduitDevice(Device):  # type: ignore[misc]
    """Runs circuits on a device of a Qonduit server.

    With shots, results come from the device's samples; without, from its exact state, if the device supports it
    (`capabilities.statevector`). All circuits of one execution are sent in as few jobs as possible. The server computes
    gradients of exact expectation values; other gradients are PennyLane's: by default parameter-shift, whose circuits
    are one execution.

    Args:
        wires: the number of wires, or their labels; by default those of each circuit.
        shots: the default for circuits without shots; PennyLane prefers `qml.set_shots` on the QNode.
        device: "PROVIDER/name" on the server.
        client: a `Client`, or the server as "HOST:PORT" or by its name; by default that of `qonduit_client.Client`.
        seed: the seed of simulators, as for `numpy.random.default_rng`: the same circuits in the same order return
            the same samples.
        timeout: seconds per execution, after which its jobs are cancelled; by default unlimited.
        readout_prob: the probability that a measured bit is flipped, as of default.mixed; 0 without.
        simulation: options of the simulation, as of `Client.run`.

    Raises:
        ValueError: readout_prob is not a probability.
        DeviceError: (by executions) the device does not support the circuit, or the job failed; `__cause__` is the
            client's error.
    """

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        device: str = DEFAULT_DEVICE,
        client: Client | str | None = None,
        seed: Any = None,
        timeout: float | None = None,
        readout_prob: float | None = None,
        simulation: Simulation | None = None,
    ) -> None:
        if not 0 <= (readout_prob or 0) <= 1:
            raise ValueError(f"readout_prob must be a number from 0 to 1, got {readout_prob!r}")
        super().__init__(wires=wires, shots=shots)
        self._device = device
        self._client = connect(client)
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._timeout = timeout
        self._readout_prob = float(readout_prob or 0)
        self._simulation = simulation

    @property
    def name(self) -> str:
        """The device's name in `qml.device`."""
        return "qonduit"

    @property
    def client(self) -> Client:
        """The connection to the server."""
        return self._client

    @property
    def target(self) -> str:
        """The device on the server, as "PROVIDER/name"."""
        return self._device

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """Return whether the server computes gradients: of exact expectation values of sums of Pauli products."""
        if execution_config is None:
            return True
        if execution_config.gradient_method not in _DEVICE_GRADIENTS or self._readout_prob:
            return False
        if execution_config.gradient_method == "best" and execution_config.derivative_order > 1:
            return False
        return self._has_states and (circuit is None or is_differentiable(circuit))

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Choose the method of mid-circuit measurements: the device's with shots, else deferred.

        Raises:
            DeviceError: the method is not supported.
        """
        config = config or ExecutionConfig()
        mcm = config.mcm_config
        shots = circuit is not None and bool(circuit.shots)
        method = mcm.mcm_method or ("device" if shots and not self._readout_prob else "deferred")
        if method not in _METHODS:
            raise DeviceError(
                f"mcm_method '{method}' is not supported on {self.name}; use one of {', '.join(_METHODS)}"
            )
        if self._readout_prob and method != "deferred":
            raise DeviceError(f"mcm_method '{method}' is not supported with readout_prob: use 'deferred'")
        if mcm.postselect_mode == "fill-shots":
            raise DeviceError(
                f"postselect_mode 'fill-shots' is not supported on {self.name}, which runs shots: use 'hw-like'"
            )
        gradient = self.supports_derivatives(config, circuit)
        return replace(
            config,
            use_device_gradient=gradient,
            use_device_jacobian_product=False,
            grad_on_execution=gradient and config.grad_on_execution is not False,
            mcm_config=replace(mcm, mcm_method=method),
        )

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> CompilePipeline:
        """Return the transforms that make a circuit executable on this device, or raise an error."""
        config = execution_config or self.setup_execution_config()
        deferred = config.mcm_config.mcm_method in (None, "deferred")
        pipeline = CompilePipeline()
        if deferred:
            pipeline.add_transform(defer_measurements, allow_postselect=True)
        pipeline.add_transform(decomposed, device_wires=self.wires, name=self.name)
        pipeline.add_transform(device_resolve_dynamic_wires, wires=self.wires, allow_resets=not deferred)
        pipeline.add_transform(validate_device_wires, self.wires, name=self.name)
        pipeline.add_transform(
            validate_measurements,
            analytic_measurements=_is_exact,
            sample_measurements=_is_sampled,
            name=self.name,
        )
        if config.use_device_gradient:
            pipeline.add_transform(broadcast_expand)
            pipeline.add_transform(validate_adjoint_trainable_params)
        return pipeline

    def execute(self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None) -> Any:
        """Run circuits in as few jobs as possible and return their measurements, in PennyLane's shapes.

        Raises:
            DeviceError: the server rejected a job, a job failed, or the timeout expired.
        """
        mode = execution_config.mcm_config.postselect_mode if execution_config is not None else None
        ((*tapes,), joined) = broadcast_expand(circuits)
        return joined(tuple(self._measured(tapes, mode)))

    def compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Return the Jacobians of exact circuits by their trainable parameters, computed on the server.

        Raises:
            DeviceError: as in `execute`, or a parameter is no angle of a gate.
        """
        return self.execute_and_compute_derivatives(circuits, execution_config)[1]

    def execute_and_compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Return measurements of exact circuits, and their Jacobians, by one job; raises as `compute_derivatives`."""
        known: Known = {}
        prepared = [self._prepared(tape, known) for tape in circuits]
        places = [trainable_angles(tape, program) for tape, program in prepared]
        wanted = []
        for (tape, program), own in zip(prepared, places, strict=True):
            angles = distinct(own)
            wanted.append(Wanted(program, 0, estimator_of(tape, gradient=bool(angles)), angles))
        values, jacobians = [], []
        for (tape, _), own, (found, gradients) in zip(prepared, places, self._estimated(wanted), strict=True):
            values.append(from_values(tape, found))
            none: NDArray[np.float64] = np.zeros((len(tape.measurements), 0))
            jacobians.append(from_gradients(tape, none if gradients is None else gradients, own))
        return tuple(values), tuple(jacobians)

    def _measured(self, tapes: Sequence[QuantumScript], mode: str | None) -> list[Any]:
        """Return the measurements of tapes: estimated by the server where it can, else from states and samples."""
        found: list[Any] = [None] * len(tapes)
        known: Known = {}
        prepared = [self._prepared(tape, known) for tape in tapes]
        estimators: dict[tuple[int, ...], EstimatorOptions] = {}
        estimated = [
            place for place, (tape, program) in enumerate(prepared) if is_estimated(tape, program, self._readout_prob)
        ]
        wanted = []
        for tape, program in (prepared[place] for place in estimated):
            observables = tuple(id(each.obs) for each in tape.measurements)  # of tapes of one gradient: the same
            if observables not in estimators:
                estimators[observables] = estimator_of(tape)
            wanted.append(Wanted(program, tape.shots.total_shots or 0, estimators[observables]))
        for place, (values, _) in zip(estimated, self._estimated(wanted), strict=True):
            found[place] = from_values(prepared[place][0], values)
        others = sorted(set(range(len(tapes))).difference(estimated))
        split, joined = SPLITTING([tapes[place] for place in others])
        results = self._run([self._prepared(tape, known, rotated=True) for tape in split], mode)
        for place, result in zip(others, joined(tuple(results)), strict=True):
            found[place] = result
        return found

    def _prepared(self, tape: QuantumScript, known: Known, *, rotated: bool = False) -> tuple[QuantumScript, Program]:
        """Return a tape on wires 0, 1, 2 ..., and its program; with its measurements if these are `rotated`."""
        rotated = rotated and bool(tape.shots)
        if rotated:
            tape = tape.copy(operations=[*tape.operations, *rotations(tape)], trainable_params=[])
        ((tape,), _) = convert_to_numpy_parameters(tape)
        ((tape,), _) = decomposed(tape, name=self.name)
        tape = tape.map_to_standard_wires()
        program = program_of(tape, known)
        if rotated:
            needed = [each.wires for each in tape.measurements if each.mv is None or not program.mid_circuit]
            every = any(not wires for wires in needed)
            wires = range(len(tape.wires)) if every else sorted({wire for each in needed for wire in each})
            program.measured = list(wires)
            program.readout_prob = self._readout_prob
        return tape, program

    def _run(self, prepared: Sequence[tuple[QuantumScript, Program]], mode: str | None) -> list[Any]:
        """Return the measurements of tapes from exact states, or from samples."""
        found: list[Any] = [None] * len(prepared)
        exact: list[int] = []
        sampled: list[int] = []
        for place, (tape, program) in enumerate(prepared):
            if not tape.shots and program.qubits:
                exact.append(place)
            elif program.qubits and (program.measured or program.mid_circuit):
                sampled.append(place)
            else:
                found[place] = (
                    from_shots(tape, program, {}, mode)
                    if tape.shots
                    else from_state(tape, program, [1.0], self._readout_prob)
                )
        sweeps = sweeps_of([Wanted(prepared[place][1], prepared[place][0].shots.total_shots) for place in sampled])
        programs = [program for _, program in prepared]
        with self._jobs(programs) as jobs:
            jobs.submit_states([programs[place].message for place in exact])
            jobs.submit_parts([sweep.part for sweep in sweeps])
            results = jobs.results()
        for place in exact:
            tape, program = prepared[place]
            (result,) = next(results)
            found[place] = from_state(tape, program, result.statevector, self._readout_prob)
        for sweep in sweeps:
            for member, result in zip(sweep.members, next(results), strict=True):
                tape, program = prepared[sampled[member]]
                found[sampled[member]] = from_shots(tape, program, sampled_bits_of(result), mode)
        return found

    def _estimated(self, wanted: Sequence[Wanted]) -> list[tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
        """Return for each program the values of its observables, and their gradients if they are wanted."""
        sweeps = sweeps_of(wanted)
        with self._jobs([each.program for each in wanted]) as jobs:
            jobs.submit_parts([sweep.part for sweep in sweeps])
            results = jobs.results()
        found: dict[int, tuple[NDArray[np.float64], NDArray[np.float64] | None]] = {}
        for sweep in sweeps:
            members = iter(sweep.members)
            trainable = len(wanted[sweep.members[0]].trainable)
            for estimate in (estimate_of(result, has_points=True) for result in next(results)):
                for point, values in enumerate(estimate.values):
                    gradients = None if estimate.gradients is None else estimate.gradients[point][:, :trainable]
                    found[next(members)] = values, gradients
        return [found[place] for place in range(len(wanted))]

    def _jobs(self, programs: Sequence[Program]) -> ExecutionJobs:
        return ExecutionJobs(
            self._client,
            self._device,
            self._seed,
            timeout=self._timeout,
            simulation=self._simulation,
            hint=lambda error: _hint(error, programs),
        )

    @cached_property
    def _has_states(self) -> bool:
        """Whether the device computes exact states; False if the server does not answer."""
        try:
            device = self._client.named_devices().get(self._device)
        except QonduitError:
            return False
        return device is not None and device.capabilities.statevector

    def _seed(self) -> int | None:
        return None if self._rng is None else int(self._rng.integers(2**32))


def _hint(error: QonduitError, programs: Sequence[Program]) -> str:
    """Return what to do where a state is the problem."""
    if error.reason == "NO_STATEVECTOR":
        return "; use shots, which need no exact state"
    if further := max(program.selected.count(None) for program in programs):
        return f"; channels take qubits of the exact state (here {further}): use shots, which need none"
    return ""


def _is_exact(measurement: Any) -> bool:
    """Return whether a measurement can be computed from a state."""
    if not isinstance(measurement, StateMeasurement):
        return False
    exact = ("Hermitian", "SparseHamiltonian") if isinstance(measurement, ExpectationMP) else ()
    return measurement.obs is None or _all_parts(measurement.obs, exact)


def _is_sampled(measurement: Any) -> bool:
    """Return whether a measurement can be computed from samples."""
    if not isinstance(measurement, SampleMeasurement | ClassicalShadowMP | ShadowExpvalMP):
        return False
    return measurement.obs is None or _all_parts(measurement.obs, ())


def _all_parts(obs: Any, others: tuple[str, ...]) -> bool:
    """Return whether each part of an observable is diagonalizable, or is one of the others."""
    if isinstance(obs, CompositeOp):
        return all(_all_parts(each, others) for each in obs.operands)
    if isinstance(obs, SymbolicOp):
        return _all_parts(obs.base, others)
    return obs.name in others or bool(obs.has_diagonalizing_gates)
