# SPDX-License-Identifier: Apache-2.0
"""What a server gave for a program, as Braket's SDK tells results; the SDK itself computes what was asked for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from braket.default_simulator.state_vector_simulation import StateVectorSimulation
from braket.task_result import AdditionalMetadata, GateModelTaskResult, ResultTypeValue, TaskMetadata
from braket.tasks import GateModelQuantumTaskResult

from qonduit_client.braket.task_submission import Given
from qonduit_client.result import Result
from qonduit_client.shots import shots_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from numpy.typing import NDArray


def task_result(given: Given, task: str, device: str) -> GateModelQuantumTaskResult:
    """Return a program's result.

    Args:
        given: by the server.
        task: the id of the task.
        device: "PROVIDER/device".
    """
    plan = given.plan
    measurements: list[list[int]] | None = None
    results = plan.asked
    if plan.shots:
        measurements = measurements_of(given)
    else:
        known = _Known(np.exp(1j * plan.phase) * _state(given.result))
        results = [
            ResultTypeValue.construct(type=asked, value=exact.calculate(known))
            for asked, exact in zip(plan.asked, plan.exact, strict=True)
        ]
    made = GateModelQuantumTaskResult.from_object(
        GateModelTaskResult.construct(
            taskMetadata=TaskMetadata(
                id=task,
                shots=plan.shots,
                deviceId=device,
                createdAt=timestamp(given.job.created_at),
                endedAt=timestamp(given.job.finished_at),
            ),
            additionalMetadata=AdditionalMetadata(action=plan.program),
            resultTypes=results,
            measurements=measurements,
            measuredQubits=plan.measured,
        )
    )
    if plan.shots:
        made.measured_qubits = plan.told
    return made


def measurements_of(given: Given) -> list[list[int]]:
    """Return what each shot gave, a list of 0 and 1 in the order of the measured qubits."""
    register, bits = given.plan.bits
    shots: NDArray[np.uint8] = shots_of(given.result, given.seed)[register][:, bits]
    listed: list[list[int]] = shots.tolist()
    return listed


def timestamp(time: Timestamp) -> str:
    """Return a time as Braket writes it."""
    moment: datetime = time.ToDatetime()
    return moment.isoformat(timespec="milliseconds") + "Z"


def _state(result: Result) -> NDArray[np.complex128]:
    """Return the state with the first qubit as the highest bit, as Braket has it; the server has it as the lowest."""
    amplitudes = np.array(result.statevector, dtype=np.complex128)
    qubits = amplitudes.size.bit_length() - 1
    return amplitudes.reshape((2,) * qubits).transpose().reshape(-1)


class _Known(StateVectorSimulation):  # type: ignore[misc]
    """A simulation whose state is known, for Braket's own result types to be computed from."""

    def __init__(self, state: Any) -> None:
        super().__init__(qubit_count=state.size.bit_length() - 1, shots=0, batch_size=1)
        self._state_vector = state
