# SPDX-License-Identifier: Apache-2.0
"""Convert results to those of the Braket SDK; the server or the SDK computes the requested result types."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from braket.default_simulator.density_matrix_simulation import DensityMatrixSimulation
from braket.default_simulator.state_vector_simulation import StateVectorSimulation
from braket.task_result import AdditionalMetadata, GateModelTaskResult, ResultTypeValue, TaskMetadata
from braket.tasks import GateModelQuantumTaskResult

from qonduit_client.braket.task_submission import ProgramOutcome
from qonduit_client.dilation import traced_out
from qonduit_client.result import Result
from qonduit_client.shots import shots_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from numpy.typing import NDArray


def task_result(outcome: ProgramOutcome, task: str, device: str) -> GateModelQuantumTaskResult:
    """Return a program's result.

    Args:
        outcome: the program's outcome on the server.
        task: the id of the task.
        device: "PROVIDER/device".
    """
    plan = outcome.plan
    measurements: list[list[int]] | None = None
    results = plan.asked
    if plan.shots:
        measurements = measurements_of(outcome)
    elif plan.estimation is not None:
        results = [
            ResultTypeValue.construct(type=asked, value=value)
            for asked, value in zip(plan.asked, plan.estimation.values(outcome.result), strict=True)
        ]
    else:
        state = np.exp(1j * plan.phase) * _state(outcome.result)
        known = _KnownMixture(traced_out(state, plan.qubits)) if plan.noisy else _Known(state)
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
                createdAt=timestamp(outcome.job.created_at),
                endedAt=timestamp(outcome.job.finished_at),
            ),
            additionalMetadata=AdditionalMetadata(action=plan.program),
            resultTypes=results,
            measurements=measurements,
            measuredQubits=plan.measured,
        )
    )
    if plan.shots:
        made.measured_qubits = plan.reported_qubits
    return made


def measurements_of(outcome: ProgramOutcome) -> list[list[int]]:
    """Return the outcome of each shot, a list of 0 and 1 in the order of the measured qubits."""
    register, bits = outcome.plan.bits
    shots: NDArray[np.uint8] = shots_of(outcome.result, outcome.seed)[register][:, bits]
    listed: list[list[int]] = shots.tolist()
    return listed


def timestamp(time: Timestamp) -> str:
    """Return a time in Braket's format."""
    moment: datetime = time.ToDatetime()
    return moment.isoformat(timespec="milliseconds") + "Z"


def _state(result: Result) -> NDArray[np.complex128]:
    """Return the state with the first qubit as the highest bit, as in Braket; the server uses the lowest."""
    amplitudes = np.array(result.statevector, dtype=np.complex128)
    qubits = amplitudes.size.bit_length() - 1
    return amplitudes.reshape((2,) * qubits).transpose().reshape(-1)


class _Known(StateVectorSimulation):  # type: ignore[misc]
    """A simulation with a given state, from which Braket computes its result types."""

    def __init__(self, state: Any) -> None:
        super().__init__(qubit_count=state.size.bit_length() - 1, shots=0, batch_size=1)
        self._state_vector = state


class _KnownMixture(DensityMatrixSimulation):  # type: ignore[misc]
    """The same with a density matrix."""

    def __init__(self, density: Any) -> None:
        super().__init__(qubit_count=len(density).bit_length() - 1, shots=0)
        self._density_matrix = density
