# SPDX-License-Identifier: Apache-2.0
"""Jobs with their results, as the command line shows them: one entry for each program and point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from qonduit.v1.deployment_pb2 import QuantumProgram
    from qonduit.v1.job_pb2 import Job, ProgramRun
    from qonduit.v1.sweep_pb2 import ParameterSets
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle
    from qonduit_client.result import Result


class Entry(NamedTuple):
    """One program at one point.

    Attributes:
        job: the job.
        run: the run of the program.
        name: of the program.
        point: the values of the inputs that a sweep sets, by name; empty without a sweep.
        results: of the program at the point; none if it failed.
    """

    job: Job
    run: ProgramRun
    name: str
    point: Mapping[str, object]
    results: Sequence[Result]


@dataclass
class Ended:
    """One job and its results.

    Attributes:
        job: its current state.
        results: all results.
        names: of its programs, in their order; may be fewer.
        points: the inputs of a sweep, all with the same keys: of each point of the job's parameter values, or of each
            program in their order.
    """

    job: Job
    results: list[Result]
    names: Sequence[str] = ()
    points: Sequence[Mapping[str, object]] = ()
    _of_run: dict[tuple[int, int | None], list[Result]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.results:
            self._of_run.setdefault((each.program_id, each.point), []).append(each)

    @property
    def has_parameter_sets(self) -> bool:
        """Whether the job has parameter values, so that `points` are theirs."""
        return self.job.HasField("parameter_sets") or self.job.HasField("parameter_sets_reference")

    @property
    def is_estimator(self) -> bool:
        """Whether the results are estimates."""
        from qonduit.v1.job_pb2 import JobType

        return self.job.type == JobType.JOB_TYPE_ESTIMATOR

    def entries(self) -> Iterator[Entry]:
        """Yield the programs at their points, ordered by point; estimates have one entry for all points."""
        runs = self.job.program_runs
        if self.has_parameter_sets and not self.is_estimator:
            for place, point in enumerate(self.points):
                for run in runs:
                    yield Entry(self.job, run, self._name(run), point, self._of_run.get((run.program_id, place), []))
            return
        for run in runs:
            of_program = self.points[run.index] if run.index < len(self.points) and not self.is_estimator else {}
            yield Entry(self.job, run, self._name(run), of_program, self._of_run.get((run.program_id, None), []))

    def _name(self, run: ProgramRun) -> str:
        return self.names[run.index] if run.index < len(self.names) else f"program {run.index + 1}"


def ended(
    client: Client, handle: JobHandle, names: Sequence[str] = (), points: Sequence[Mapping[str, object]] = ()
) -> Ended:
    """Read a job and its results; by default, derive the names of its programs from its deployment."""
    job = handle.job()
    one = Ended(job, handle.stored_results(), names or _program_names(client, job), points)
    if one.has_parameter_sets:
        one.points = _points(handle.parameter_sets())
    return one


def _points(sets: ParameterSets) -> list[dict[str, object]]:
    names, values = list(sets.names), list(sets.values)
    return [dict(zip(names, values[at : at + len(names)], strict=True)) for at in range(0, len(values), len(names))]


def _program_names(client: Client, job: Job) -> list[str]:
    """Return the inputs that differ between the programs of a sweep; no names if the server does not respond."""
    from qonduit_client.errors import QonduitError

    if len(job.program_runs) < 2:
        return []
    try:
        programs = client.deployment(job.deployment_id).programs
    except QonduitError:
        return []
    if [each.id for each in programs] != [run.program_id for run in job.program_runs]:
        return []  # the deployment was updated since
    return [f"program {place}{_inputs(program)}" for place, program in enumerate(programs, 1)]


def _inputs(program: QuantumProgram) -> str:
    from google.protobuf.json_format import MessageToDict

    inputs = MessageToDict(program.python_file_inputs)
    return f" ({', '.join(f'{name}={value_text(value)}' for name, value in inputs.items())})" if inputs else ""


def value_text(value: object) -> str:
    """Format a value of an input: floats with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
