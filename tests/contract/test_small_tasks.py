# SPDX-License-Identifier: Apache-2.0
"""Small tasks of several jobs share a call of the SDK, and each has the events and numbers of its run alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType, StopCondition
from qonduit.v1.noise_pb2 import NoiseModel, ReadoutError
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit_server.errors import ProviderError
from qonduit_server.providers import registry
from qonduit_server.providers.aer.aer_execution import AerExecution
from qonduit_server.worker.assembly import TaskRunner, make_runner

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
BELL = HEADER + "qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"
TURNED = HEADER + "qubit[3] q; bit[3] c; ry(0.3) q; cx q[0], q[1]; c = measure q;"
UNREAD = HEADER + "qubit[1] q; bit[1] c; rx(0.77) q[0]; c = measure q;"
READOUT = NoiseModel(readout_errors=[ReadoutError(prob_1_given_0=0.2, prob_0_given_1=0.1)])


def task(job_id: int, text: str = BELL, device: str = "aer_simulator", **spec: object) -> Task:
    options: dict[str, Any] = {"type": JobType.JOB_TYPE_RUNNER, "shots": 100 + job_id, "seed": 40 + job_id, **spec}
    program = TaskProgram(language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text=text)
    return Task(job_id=job_id, attempt=1, provider="IBM", device=device, programs=[program], spec=JobSpec(**options))


def small_tasks() -> list[Task]:
    return [
        task(1),
        task(2, TURNED),
        task(3, seed=41, shots=101),
        task(4, TURNED, type=JobType.JOB_TYPE_SAMPLER, sampler=SamplerOptions(per_shot=True)),
        task(5, include_statevector=True),
        task(6, noise_model=READOUT),
    ]


class Call:
    """A run of several tasks in one call of the runner."""

    def __init__(self, run: TaskRunner, tasks: Sequence[Task]) -> None:
        self.events: list[TaskEvent] = []
        assert run(tasks, self.events.append)

    def of(self, job_id: int) -> list[TaskEvent]:
        """Return the events of a job, without the times that it took."""
        found = [event for event in self.events if event.job_id == job_id]
        for event in found:
            if not event.HasField("program_succeeded"):
                continue
            for result in (event.program_succeeded.result, *(each.result for each in event.program_succeeded.further)):
                result.meta_data.fields.pop("run_seconds", None)
        return found

    def kinds(self, job_id: int) -> list[str | None]:
        return [event.WhichOneof("event") for event in self.of(job_id)]


@pytest.fixture(scope="module")
def run() -> TaskRunner:
    """A runner whose cache has the programs of the tests."""
    made = make_runner(registry.get("IBM"))
    for _ in range(2):  # the second run of each finds its program in the cache
        for each in (*small_tasks(), task(9, device="fake_lima")):
            Call(made, [each])
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of circuits of each shared call."""
    sizes: list[int] = []
    original = AerExecution.run_small

    def run_small(self: AerExecution, runs: Sequence[Any]) -> Any:
        sizes.append(len(runs))
        return original(self, runs)

    monkeypatch.setattr(AerExecution, "run_small", run_small)
    return sizes


def test_tasks_in_one_call_have_the_events_and_counts_of_tasks_alone(run: TaskRunner, calls: list[int]) -> None:
    alone = {each.job_id: Call(run, [each]).of(each.job_id) for each in small_tasks()}
    assert calls == []
    first, *others = small_tasks()
    assert all(run.joins(first, other) for other in others)
    together = Call(run, [first, *others])
    assert calls == [6]
    for job_id, events in alone.items():
        assert together.of(job_id) == events
        assert events[-1].HasField("finished")
    counts = [
        next(event.program_succeeded.result for event in alone[job_id] if event.HasField("program_succeeded"))
        for job_id in (1, 3)
    ]
    assert counts[0].counts_and_probabilities == counts[1].counts_and_probabilities  # the same seed and shots


def test_tasks_of_other_kinds_do_not_join(run: TaskRunner) -> None:
    two_programs = task(2)
    two_programs.programs.add().CopyFrom(two_programs.programs[0])
    for other in (
        task(2, device="fake_lima"),
        task(2, UNREAD),
        task(2, stop_when=StopCondition(standard_error=0.1)),
        task(2, type=JobType.JOB_TYPE_SAMPLER, sampler=SamplerOptions(exact=True)),
        two_programs,
    ):
        assert not run.joins(task(1), other)


def test_tasks_that_do_not_join_run_in_the_same_call_of_the_runner(run: TaskRunner, calls: list[int]) -> None:
    together = Call(run, [task(1), task(2, UNREAD), task(3, TURNED), task(4, "nonsense")])
    assert calls == [2]
    assert [together.kinds(job_id)[-1] for job_id in (1, 2, 3, 4)] == ["finished"] * 4
    assert "program_failed" in together.kinds(4)
    assert all("program_succeeded" in together.kinds(job_id) for job_id in (1, 2, 3))


def test_a_circuit_that_fails_fails_its_own_job_only(run: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    original = AerExecution.run_small

    def run_small(self: AerExecution, runs: Sequence[Any]) -> Any:
        outcomes = list(original(self, runs))
        outcomes[1] = ProviderError("SIMULATION_FAILED", "it failed")
        return outcomes

    alone = {job_id: Call(run, [task(job_id)]).of(job_id) for job_id in (1, 3)}
    monkeypatch.setattr(AerExecution, "run_small", run_small)
    together = Call(run, [task(1), task(2), task(3)])
    assert [together.of(job_id) == alone[job_id] for job_id in (1, 3)] == [True, True]
    (failed,) = [event.program_failed for event in together.of(2) if event.HasField("program_failed")]
    assert failed.failure.reason == "SIMULATION_FAILED"


def test_tasks_run_alone_if_their_common_call_breaks_down(run: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_small(self: AerExecution, runs: Sequence[Any]) -> Any:
        raise RuntimeError("broken")

    alone = {job_id: Call(run, [task(job_id)]).of(job_id) for job_id in (1, 2)}
    monkeypatch.setattr(AerExecution, "run_small", run_small)
    together = Call(run, [task(1), task(2)])
    assert {job_id: together.of(job_id) for job_id in alone} == alone
