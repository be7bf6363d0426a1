# SPDX-License-Identifier: Apache-2.0
"""The PennyLane device "qonduit": any device of a Qonduit server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    device_resolve_dynamic_wires,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError
from pennylane.measurements import ClassicalShadowMP, ExpectationMP, SampleMeasurement, ShadowExpvalMP, StateMeasurement
from pennylane.ops import CompositeOp, SymbolicOp
from pennylane.tape import QuantumScript
from pennylane.transforms import convert_to_numpy_parameters, defer_measurements
from pennylane.transforms.core import CompilePipeline

from qonduit_client.batch import Batch, submit
from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.errors import QonduitError, ServerUnavailable
from qonduit_client.pennylane.outcomes import from_shots, from_state
from qonduit_client.pennylane.pennylane_gates import decomposed
from qonduit_client.pennylane.splitting import SPLITTING, rotations
from qonduit_client.pennylane.tape_programs import Program, program_of
from qonduit_client.result import Result
from qonduit_client.shots import shots_of
from qonduit_client.simulation_options import Simulation

#: Methods of mid-circuit measurements: "deferred" uses more wires; the others measure on the device.
_METHODS: Final = ("deferred", "one-shot", "device")


@simulator_tracking
@single_tape_support
class QonduitDevice(Device):  # type: ignore[misc]
    """Runs circuits on a device of a Qonduit server.

    With shots, results come from the device's samples; without, from its exact state, if the device supports it
    (`capabilities.statevector`). All circuits of one execution are sent in as few jobs as possible. PennyLane computes
    gradients: by default parameter-shift, whose circuits are one execution.

    Args:
        wires: the number of wires, or their labels; by default those of each circuit.
        shots: the default for circuits without shots; PennyLane prefers `qml.set_shots` on the QNode.
        device: "PROVIDER/name" on the server.
        client: a `Client`, or the server as "HOST:PORT"; by default the environment variable QONDUIT_SERVER, else
            127.0.0.1:50051.
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
        """Return False: PennyLane's gradient transforms create circuits instead."""
        return False

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
        return replace(
            config,
            use_device_gradient=False,
            use_device_jacobian_product=False,
            grad_on_execution=False,
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
        return pipeline

    def execute(self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None) -> Any:
        """Run circuits in as few jobs as possible and return their measurements, in PennyLane's shapes.

        Raises:
            DeviceError: the server rejected a job, a job failed, or the timeout expired.
        """
        mode = execution_config.mcm_config.postselect_mode if execution_config is not None else None
        tapes, joined = SPLITTING(circuits)
        prepared = [self._prepared(tape) for tape in tapes]
        found: list[Any] = [None] * len(prepared)
        for place, (result, seed) in enumerate(self._run(prepared)):
            tape, program = prepared[place]
            if not tape.shots:
                amplitudes = [1.0] if result is None else result.statevector
                found[place] = from_state(tape, program, amplitudes, self._readout_prob)
            else:
                found[place] = from_shots(tape, program, {} if result is None else shots_of(result, seed), mode)
        return joined(tuple(found))

    def _prepared(self, tape: QuantumScript) -> tuple[QuantumScript, Program]:
        """Return a tape on wires 0, 1, 2 ..., and its program with its measurements."""
        if tape.shots:
            tape = tape.copy(operations=[*tape.operations, *rotations(tape)], trainable_params=[])
        ((tape,), _) = convert_to_numpy_parameters(tape)
        ((tape,), _) = decomposed(tape, name=self.name)
        tape = tape.map_to_standard_wires()
        program = program_of(tape)
        if tape.shots:
            needed = [each.wires for each in tape.measurements if each.mv is None or not program.mid_circuit]
            every = any(not wires for wires in needed)
            wires = range(len(tape.wires)) if every else sorted({wire for each in needed for wire in each})
            program.measured = list(wires)
            program.readout_prob = self._readout_prob
        return tape, program

    def _run(self, prepared: Sequence[tuple[QuantumScript, Program]]) -> list[tuple[Result | None, int | None]]:
        """Return each program's result (None if there is nothing to run) and the seed for the order of its shots."""
        found: list[tuple[Result | None, int | None]] = [(None, None)] * len(prepared)
        groups: dict[int | None, list[int]] = {}
        for place, (tape, program) in enumerate(prepared):
            if program.qubits and (not tape.shots or program.measured or program.mid_circuit):
                groups.setdefault(tape.shots.total_shots, []).append(place)
        whole = Batch([])
        try:
            for shots, places in groups.items():
                part = submit(
                    self._client,
                    [prepared[place][1].message for place in places],
                    device=self._device,
                    shots=shots or 1,
                    seed=self._seed(),
                    statevector=shots is None,
                    simulation=self._simulation,
                )
                whole.handles += part.handles
            places = [place for group in groups.values() for place in group]
            for place, result in zip(places, whole.results(self._timeout), strict=True):
                found[place] = result, self._seed()
        except BaseException as error:
            if not isinstance(error, ServerUnavailable):
                with suppress(QonduitError):
                    whole.cancel()
            if not isinstance(error, QonduitError):
                raise
            raise DeviceError(f"{self._device}: {error}{_hint(error, [program for _, program in prepared])}") from error
        return found

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
