# SPDX-License-Identifier: Apache-2.0
"""A device of a Qonduit server as a device of qBraid's runtime."""

from __future__ import annotations

from typing import Any

from qbraid.programs import ProgramSpec
from qbraid.runtime import DeviceStatus, QuantumDevice, ResourceNotFoundError, TargetProfile

from qonduit.v1.device_pb2 import Device
from qonduit_client.batch import derived_seed
from qonduit_client.client import Client
from qonduit_client.qbraid.device_names import devices
from qonduit_client.qbraid.program_specs import message
from qonduit_client.qbraid.qbraid_errors import as_qbraid_has_it
from qonduit_client.qbraid.qbraid_job import QonduitJob


class QonduitDevice(QuantumDevice):  # type: ignore[misc]
    """Runs programs on a device of a server.

    Circuits of Qiskit, Cirq, Braket, pyQuil and IonQ, and OpenQASM, are sent unchanged; qBraid's transpiler converts
    other types first.

    Args:
        profile: the device's profile; created by `QonduitProvider`.
        client: the connection.
        further: arguments of `qbraid.runtime.QuantumDevice`.
    """

    def __init__(self, profile: TargetProfile, client: Client, **further: Any) -> None:
        super().__init__(profile, **further)
        self.client = client

    def status(self) -> DeviceStatus:
        """Return whether the device is online."""
        device = self._now()
        return DeviceStatus.OFFLINE if device.HasField("available") and not device.available else DeviceStatus.ONLINE

    def queue_depth(self) -> int:
        """Return the number of queued jobs of the device.

        Raises:
            ResourceNotFoundError: the device does not report it.
        """
        device = self._now()
        if not device.HasField("queue_depth"):
            raise ResourceNotFoundError("Queue depth is not available for this device.")
        return int(device.queue_depth)

    def transpile(self, run_input: Any, run_input_spec: ProgramSpec) -> Any:
        """Return supported programs unchanged; only other types use its transpiler."""
        targets = self._target_spec if isinstance(self._target_spec, list) else [self._target_spec]
        if any(target is not None and target.alias == run_input_spec.alias for target in targets):
            return run_input
        return super().transpile(run_input, run_input_spec)

    def validate(self, run_input_batch: list[Any], suppress_device_warning: bool = False) -> None:
        """Let qBraid count the qubits of circuit objects only: its text parser supports less than the server."""
        super().validate([each for each in run_input_batch if not isinstance(each, str)], suppress_device_warning)

    def submit(
        self, run_input: Any, shots: int = 1000, *, seed: int | None = None, name: str | None = None, **options: Any
    ) -> QonduitJob | list[QonduitJob]:
        """Queue a job for each program and return immediately.

        Args:
            run_input: a program, or a list of them.
            shots: per program.
            seed: the seed of simulators, for all programs together; their samples are independent.
            name: of the jobs.
            options: further arguments of `qonduit_client.Client.run`: `inputs`, for example.

        Raises:
            ProgramValidationError: the server rejects a program or an option; see the message.
            QbraidRuntimeError: the server is unreachable, or reported an internal error.
        """
        several = run_input if isinstance(run_input, list) else [run_input]
        jobs: list[QonduitJob] = []
        with as_qbraid_has_it():
            for place, program in enumerate([message(each) for each in several]):
                own = None if seed is None else derived_seed(seed, place)
                handle = self.client.run(program, self.id, shots, own, name, **options)
                jobs.append(QonduitJob(handle.id, self, shots=shots))
        return jobs if isinstance(run_input, list) else jobs[0]

    def _now(self) -> Device:
        found = devices(self.client).get(self.id)
        if found is None:
            raise ResourceNotFoundError(f"the server no longer has device {self.id}")
        return found
