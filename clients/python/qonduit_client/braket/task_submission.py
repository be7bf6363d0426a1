# SPDX-License-Identifier: Apache-2.0
"""Submit programs in as few jobs as possible, and read each program's outcome from its job."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NamedTuple

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import batch, job_parts
from qonduit_client.adapter_data import room
from qonduit_client.braket.openqasm_parsing import Plan
from qonduit_client.braket.task_data import order_seed, task_data, task_labels
from qonduit_client.client import Client
from qonduit_client.errors import JobCancelled, JobFailed, QonduitError
from qonduit_client.job import JobHandle
from qonduit_client.job_parts import Part
from qonduit_client.result import Result

#: Braket's names of job states.
_STATES: Final = {
    JobState.JOB_STATE_QUEUED: "QUEUED",
    JobState.JOB_STATE_RUNNING: "RUNNING",
    JobState.JOB_STATE_CANCELLING: "CANCELLING",
    JobState.JOB_STATE_SUCCEEDED: "COMPLETED",
    JobState.JOB_STATE_FAILED: "FAILED",
    JobState.JOB_STATE_CANCELLED: "CANCELLED",
}


class ProgramOutcome(NamedTuple):
    """The outcome of a program: the program, its result, its job, and the seed of the order of its shots."""

    plan: Plan
    result: Result
    job: Job
    seed: int | None


class Run:
    """A job with its programs; their results are read once.

    Attributes:
        handle: the job.
        target: the server, "HOST:PORT".
    """

    def __init__(self, handle: JobHandle, target: str) -> None:
        self.handle = handle
        self.target = target
        self._results: list[Result] | None = None
        self._lock = Lock()

    def results(self) -> list[Result]:
        """Return all results of the ended job."""
        with self._lock:
            if self._results is None:
                self._results = self.handle.stored_results()
            return self._results


@dataclass(frozen=True, eq=False)
class Running:
    """One program of a job.

    Attributes:
        run: the job.
        place: the program's index in the job.
        plan: the program.
        seed: of the order of its shots.
    """

    run: Run
    place: int
    plan: Plan
    seed: int | None

    def state(self, job: Job) -> str:
        """Return the program's state by Braket's name: its own if the job reports it, else the job's."""
        own = job.program_runs[self.place].state if len(job.program_runs) > self.place else job.state
        if own not in (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED):
            own = job.state
        return _STATES.get(own, "CREATED")

    def failure(self, job: Job) -> Failure:
        """Return the program's failure if the job reports it, else the job's."""
        own = job.program_runs[self.place] if len(job.program_runs) > self.place else None
        return own.failure if own is not None and own.HasField("failure") else job.failure

    def outcome(self, timeout: float | None) -> ProgramOutcome:
        """Wait for the job and return the outcome of this program.

        Raises:
            JobFailed, JobCancelled: the program failed, or the job was cancelled before it ran.
            TimedOut: the job has not ended in time; it continues.
        """
        job = self.run.handle.wait(timeout, final_results=True)
        if len(job.program_runs) <= self.place:
            job = self.run.handle.job()
        own = job.program_runs[self.place]
        if own.state == JobState.JOB_STATE_FAILED and not own.HasField("failure"):
            job = self.run.handle.job()  # the event of a job with many programs has room for some failures only
        if own.state != JobState.JOB_STATE_SUCCEEDED:
            if job.state == JobState.JOB_STATE_CANCELLED:
                raise JobCancelled(job)
            raise JobFailed(self.failure(job), job)
        results = [each for each in self.run.results() if each.message.program_id == own.program_id]
        counts = next(each for each in results if not each.message.HasField("statevector"))
        counts.further = [each for each in results if each is not counts]
        return ProgramOutcome(self.plan, counts, job, self.seed)


def submit(
    client: Client,
    device: str,
    plans: Sequence[Plan],
    seed: int | None,
    tags: Mapping[str, str],
    options: dict[str, Any],
) -> list[Running]:
    """Submit programs; those with equal shots and inputs share jobs.

    Args:
        client: the connection.
        device: "PROVIDER/device".
        plans: the programs, any number.
        seed: the seed of all programs; their samples are independent.
        tags: of each job, in addition to its labels.
        options: further arguments of `Client.run`.

    Raises:
        QonduitError: the server rejected a job; the jobs submitted before are cancelled.
        ValueError: a tag is too long, or there are too many.
    """
    labels = {**(options.get("labels") or {}), **task_labels(tags)}
    # Without a seed, too, each reading of a result gives the shots in the same order.
    order = secrets.randbits(32) if seed is None else operator.index(seed)
    groups: dict[tuple[int, str, bool], list[int]] = {}
    for place, plan in enumerate(plans):
        groups.setdefault((plan.shots, repr(plan.inputs), plan.estimation is not None), []).append(place)
    running: dict[int, Running] = {}
    try:
        for group, places in enumerate(groups.values()):
            first = plans[places[0]]
            # Seeds of jobs of a group are derived from non-negative numbers.
            base = seed if seed is None or not group else batch.derived_seed(seed, -group)
            left = iter(places)
            parts = [_part(plans[place]) for place in places]
            for number, chunk in enumerate(job_parts.chunks(parts, client.server_limits())):
                own = [next(left) for _ in chunk]
                data = task_data([plans[place] for place in own], own, order)
                given = options | {
                    "labels": labels,
                    "client_data": data if len(data) <= room(client.server_limits()) else b"",
                }
                if first.estimation is not None:
                    (handle,) = job_parts.submit(client, chunk, device=device, **given).handles
                else:
                    handle = client.run(
                        [part.program for part in chunk],
                        device,
                        first.shots or 1,
                        base if base is None else batch.derived_seed(base, number),
                        inputs=first.inputs or None,
                        statevector=not first.shots,
                        **given,
                    )
                run = Run(handle, client.target)
                running |= {
                    place: Running(run, k, plans[place], order_seed(order, place)) for k, place in enumerate(own)
                }
    except BaseException:
        for run in {each.run for each in running.values()}:
            with suppress(QonduitError):
                run.handle.cancel()
        raise
    return [running[place] for place in range(len(plans))]


def _part(plan: Plan) -> Part:
    program = QuantumProgram(quantum_circuit=plan.text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_BRAKET)
    return Part(program, plan.shots) if plan.estimation is None else Part(program, **plan.estimation.part)
