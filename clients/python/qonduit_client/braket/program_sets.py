# SPDX-License-Identifier: Apache-2.0
"""Program sets with lists of inputs, run as one task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from braket.ir.openqasm import Program
from braket.ir.openqasm.program_set_v1 import ProgramSet as OpenQASMProgramSet
from braket.program_sets import ProgramSet
from braket.task_result import AdditionalMetadata
from braket.task_result.program_result_v1 import ProgramResult
from braket.task_result.program_set_executable_result_v1 import (
    ProgramSetExecutableResult,
    ProgramSetExecutableResultMetadata,
)
from braket.task_result.program_set_task_metadata_v1 import ProgramMetadata, ProgramSetTaskMetadata
from braket.task_result.program_set_task_result_v1 import ProgramSetTaskResult
from braket.tasks import ProgramSetQuantumTaskResult

from qonduit_client.braket.braket_results import measurements_of, timestamp
from qonduit_client.braket.task_submission import ProgramOutcome


def is_set(specification: object) -> bool:
    """Return whether a specification is a program set."""
    return isinstance(specification, ProgramSet | OpenQASMProgramSet)


def programs_of(
    specification: ProgramSet | OpenQASMProgramSet, inputs: Mapping[str, Any] | None, shots: int | None
) -> tuple[OpenQASMProgramSet, list[Program], int]:
    """Expand a set to its executables.

    Args:
        specification: a set, in either form of the SDK.
        inputs: must be empty: a set contains its inputs.
        shots: the total of all executables; by default that of the set.

    Returns:
        The set as OpenQASM; its executables, each with its inputs; the shots per executable.

    Raises:
        ValueError: inputs are given, or shots are missing or not divisible by the number of executables.
    """
    if inputs:
        raise ValueError(
            "Inputs for program sets must be provided in the program set object; device.run() does not support the "
            "`inputs` argument for them."
        )
    if shots is None:
        each = getattr(specification, "shots_per_executable", None)
        if not each:
            raise ValueError("Shots must be specified in program set or during task creation")
        shots = specification.total_shots
    if shots <= 0:
        raise ValueError("Shots must not be zero. Result types are not supported with program set.")
    whole = specification.to_ir() if isinstance(specification, ProgramSet) else specification
    each, remainder = divmod(shots, whole.num_executables)
    if remainder:
        raise ValueError("Total shots must be divisible by number of executables.")
    executables = [Program(source=program.source, inputs=own) for program in whole.programs for own in _inputs(program)]
    return whole, executables, each


def set_result(
    outcomes: Sequence[ProgramOutcome],
    specification: Any,
    whole: OpenQASMProgramSet,
    shots: int,
    task: str,
    device: str,
) -> ProgramSetQuantumTaskResult:
    """Return a set's result.

    Args:
        outcomes: of each executable on the server.
        specification: the set, from whose observables the SDK computes expectations; in either form of the SDK.
        whole: the set as OpenQASM.
        shots: per executable.
        task: the id of the task.
        device: "PROVIDER/device".
    """
    left = iter(outcomes)
    results: list[ProgramResult] = []
    metadata: list[ProgramMetadata] = []
    for program in whole.programs:
        executables = [
            ProgramSetExecutableResult(
                inputsIndex=place, measurements=measurements_of(each), measuredQubits=each.plan.reported_qubits
            )
            for place, each in zip(range(len(_inputs(program))), left, strict=False)
        ]
        results.append(
            ProgramResult(executableResults=executables, source=program, additionalMetadata=AdditionalMetadata())
        )
        metadata.append(ProgramMetadata(executables=[ProgramSetExecutableResultMetadata()] * len(executables)))
    return ProgramSetQuantumTaskResult.from_object(
        ProgramSetTaskResult(
            programResults=results,
            taskMetadata=ProgramSetTaskMetadata(
                id=task,
                deviceId=device,
                requestedShots=shots * len(outcomes),
                successfulShots=shots * len(outcomes),
                programMetadata=metadata,
                totalFailedExecutables=0,
                createdAt=min(timestamp(each.job.created_at) for each in outcomes),
                endedAt=max(timestamp(each.job.finished_at) for each in outcomes),
            ),
        ),
        specification,
    )


def _inputs(program: Program) -> list[dict[str, Any]]:
    """Return the inputs of each executable of a program."""
    if not program.inputs:
        return [{}]
    rows: Iterator[tuple[Any, ...]] = zip(*program.inputs.values(), strict=True)
    return [dict(zip(program.inputs, row, strict=True)) for row in rows]
