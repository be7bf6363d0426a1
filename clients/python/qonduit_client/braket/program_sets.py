# SPDX-License-Identifier: Apache-2.0
"""Sets of programs with lists of inputs, run as one task."""

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
from qonduit_client.braket.task_submission import Given


def is_set(specification: object) -> bool:
    """Whether this is a set of programs."""
    return isinstance(specification, ProgramSet | OpenQASMProgramSet)


def programs_of(
    specification: ProgramSet | OpenQASMProgramSet, inputs: Mapping[str, Any] | None, shots: int | None
) -> tuple[OpenQASMProgramSet, list[Program], int]:
    """Unrolls a set.

    Args:
        specification: a set, in either of the SDK's forms.
        inputs: none: a set brings its own.
        shots: of all of its executables together; by default what the set says.

    Returns:
        The set as OpenQASM; its executables, each with its inputs; how often each is run.

    Raises:
        ValueError: inputs are given, or no shots, or they cannot be shared out evenly.
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


def told_set(
    given: Sequence[Given], specification: Any, whole: OpenQASMProgramSet, shots: int, task: str, device: str
) -> ProgramSetQuantumTaskResult:
    """Return a set's result.

    Args:
        given: by the server, for each executable.
        specification: the set as it was handed in.
        whole: the set as OpenQASM.
        shots: of each executable.
        task: the id of the task.
        device: "PROVIDER/device".
    """
    left = iter(given)
    results: list[ProgramResult] = []
    metadata: list[ProgramMetadata] = []
    for program in whole.programs:
        executables = [
            ProgramSetExecutableResult(
                inputsIndex=place, measurements=measurements_of(each), measuredQubits=each.plan.told
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
                requestedShots=shots * len(given),
                successfulShots=shots * len(given),
                programMetadata=metadata,
                totalFailedExecutables=0,
                createdAt=min(timestamp(each.job.created_at) for each in given),
                endedAt=max(timestamp(each.job.finished_at) for each in given),
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
