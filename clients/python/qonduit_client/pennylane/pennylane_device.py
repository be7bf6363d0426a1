# SPDX-License-Identifier: Apache-2.0
"""The device "qonduit": any device behind a Qonduit server, for PennyLane's QNodes."""

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

#: Ways to do mid-circuit measurements: by more wires; all others are the device's own, which measures as it goes.
_METHODS: Final = ("deferred", "one-shot", "device")


@simulator_tracking
@single_tape_support
class QonduitDevice(Device):  # type: ignore[misc]
    """Runs circuits on a device behind a Qonduit server.

    With shots, results come from that device's samples; without, from its exact state, where it has one
    (`capabilities.statevector`). All circuits of one execution travel as few jobs. Gradients are PennyLane's own:
    parameter-shift by default, whose circuits are one execution.

    Args:
        wires: how many, or their labels; by default those of each circuit.
        shots: the default of circuits that say none; PennyLane prefers `qml.set_shots` on the QNode.
        device: "PROVIDER/name" on the server.
        client: a `Client`, or the server as "HOST:PORT"; by default the environment variable QONDUIT_SERVER, else
            127.0.0.1:50051.
        seed: fixes the randomness of simulators: the same circuits in the same order give the same samples. What
            `numpy.random.default_rng` takes.
        timeout: seconds an execution may take until its jobs are cancelled; by default there is no end.

    Raises:
        DeviceError: (by executions) the circuit cannot be run there, or the job failed; `__cause__` is the client's
            error.
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
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._device = device
        self._client = connect(client)
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The name that `qml.device` knows it by."""
        return "qonduit"

    @property
    def client(self) -> Client:
        """The connection to the server."""
        return self._client

    @property
    def target(self) -> str:
        """The device on the server that circuits run on, as "PROVIDER/name"."""
        return self._device

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """No: PennyLane's gradient transforms make circuits of them."""
        return False

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Chooses how mid-circuit measurements are done: by the device's own where there are shots, else deferred.

        Raises:
            DeviceError: a way that this device has not.
        """
        config = config or ExecutionConfig()
        mcm = config.mcm_config
        shots = circuit is not None and bool(circuit.shots)
        method = mcm.mcm_method or ("device" if shots else "deferred")
        if method not in _METHODS:
            raise DeviceError(f"mcm_method '{method}' is not supported on {self.name}; there are {', '.join(_METHODS)}")
        if mcm.postselect_mode == "fill-shots":
            raise DeviceError(
                f"postselect_mode 'fill-shots' is not supported on {self.name}, where shots are run: use 'hw-like'"
            )
        return replace(
            config,
            use_device_gradient=False,
            use_device_jacobian_product=False,
            grad_on_execution=False,
            mcm_config=replace(mcm, mcm_method=method),
        )

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> CompilePipeline:
        """Return the transforms that make a circuit one that this device executes, or raise why there is none."""
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
        """Run circuits as few jobs and return what each measures, in PennyLane's shapes.

        Raises:
            DeviceError: the server refused, a job failed, or it took too long.
        """
        mode = execution_config.mcm_config.postselect_mode if execution_config is not None else None
        tapes, joined = SPLITTING(circuits)
        prepared = [self._prepared(tape) for tape in tapes]
        found: list[Any] = [None] * len(prepared)
        for place, (result, seed) in enumerate(self._run(prepared)):
            tape, program = prepared[place]
            if not tape.shots:
                amplitudes = [1.0] if result is None else result.statevector
                found[place] = from_state(tape, program, amplitudes)
            else:
                found[place] = from_shots(tape, program, {} if result is None else shots_of(result, seed), mode)
        return joined(tuple(found))

    def _prepared(self, tape: QuantumScript) -> tuple[QuantumScript, Program]:
        """Return a tape on wires 0, 1, 2 ..., and its program with what it measures."""
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
        return tape, program

    def _run(self, prepared: Sequence[tuple[QuantumScript, Program]]) -> list[tuple[Result | None, int | None]]:
        """Return each program's result, None where nothing is to be run, and the seed for the order of its shots."""
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
            hint = "; with shots there is no need of exact states" if error.reason == "NO_STATEVECTOR" else ""
            raise DeviceError(f"{self._device}: {error}{hint}") from error
        return found

    def _seed(self) -> int | None:
        return None if self._rng is None else int(self._rng.integers(2**32))


def _is_exact(measurement: Any) -> bool:
    """Whether a measurement can be told from a state."""
    if not isinstance(measurement, StateMeasurement):
        return False
    exact = ("Hermitian", "SparseHamiltonian") if isinstance(measurement, ExpectationMP) else ()
    return measurement.obs is None or _all_parts(measurement.obs, exact)


def _is_sampled(measurement: Any) -> bool:
    """Whether a measurement can be told from samples."""
    if not isinstance(measurement, SampleMeasurement | ClassicalShadowMP | ShadowExpvalMP):
        return False
    return measurement.obs is None or _all_parts(measurement.obs, ())


def _all_parts(obs: Any, others: tuple[str, ...]) -> bool:
    """Whether each part of an observable can be brought to the computational basis, or is one of these others."""
    if isinstance(obs, CompositeOp):
        return all(_all_parts(each, others) for each in obs.operands)
    if isinstance(obs, SymbolicOp):
        return _all_parts(obs.base, others)
    return obs.name in others or bool(obs.has_diagonalizing_gates)
