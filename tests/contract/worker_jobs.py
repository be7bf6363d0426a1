# SPDX-License-Identifier: Apache-2.0
"""Jobs of every type in a worker's runner, on the real SDKs, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramPartial, Task, TaskEvent, TaskProgram
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import ExpectationValues, Result
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.worker.runner import Runner

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
RUNNER, SAMPLER = JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER
ESTIMATOR = JobType.JOB_TYPE_ESTIMATOR
HEADER3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


@cache
def loaded(provider: str) -> Runner:
    """Return the runner of a provider, loaded once a session."""
    runner = Runner(registry.get(provider), Languages())
    runner.load()
    return runner


class WorkerJob:
    """A task that ran, and what it emitted."""

    def __init__(
        self,
        device: str,
        *texts: str,
        points_done: int = 0,
        compile_only: bool = False,
        max_result_bytes: int = 0,
        **spec: Any,
    ) -> None:
        provider, _, name = device.partition("/")
        self.task = Task(
            job_id=7,
            attempt=1,
            provider=provider,
            device=name,
            spec=JobSpec(**({"seed": 11} | spec)),
            programs=[
                TaskProgram(
                    program_id=100 + index,
                    language=QASM3 if "OPENQASM 3" in text else QASM2,
                    text=text,
                    points_done=points_done,
                )
                for index, text in enumerate(texts)
            ],
            compile_only=compile_only,
            max_result_bytes=max_result_bytes,
        )
        self.events: list[TaskEvent] = []
        loaded(provider).run(self.task, self.events.append)
        assert self.events[-1].HasField("finished"), self.events

    def results(self, index: int = 0) -> list[Result]:
        """Return the results of a program, in order: those of its points, then those of its end."""
        found = []
        for event in self.events:
            if event.HasField("points_done") and event.points_done.index == index:
                found += [each.result for each in event.points_done.results]
            elif event.HasField("program_succeeded") and event.program_succeeded.index == index:
                succeeded = event.program_succeeded
                found += [succeeded.result] if succeeded.HasField("result") else []
                found += [each.result for each in succeeded.further]
        return found

    def result(self, index: int = 0) -> Result:
        """Return the only result of a program that succeeded."""
        assert not self.failures, self.failures
        (result,) = self.results(index)
        return result

    def values(self, index: int = 0) -> ExpectationValues:
        """Return the estimates of a program that succeeded."""
        assert not self.failures, self.failures
        return self.results(index)[0].expectation_values

    def counts(self) -> list[dict[str, int]]:
        """Return the counts of each result of the first program."""
        assert not self.failures, self.failures
        return [dict(result.counts_and_probabilities.counts) for result in self.results()]

    @property
    def failures(self) -> dict[int, Failure]:
        """The failures of programs, by index, and of the job as -1."""
        found = {
            each.program_failed.index: each.program_failed.failure
            for each in self.events
            if each.HasField("program_failed")
        }
        finished = self.events[-1].finished
        return found | ({-1: finished.failure} if finished.HasField("failure") else {})

    @property
    def compiled(self) -> list[CompiledProgram]:
        """What a compilation reported."""
        return [each.program_compiled for each in self.events if each.HasField("program_compiled")]

    @property
    def partial(self) -> list[ProgramPartial]:
        """The partial results."""
        return [each.program_partial for each in self.events if each.HasField("program_partial")]

    @property
    def buffers(self) -> list[bytes]:
        """The buffers of the results, in order."""
        found = []
        for event in self.events:
            if event.HasField("points_done"):
                found += [each.buffer for each in event.points_done.results]
            elif event.HasField("program_succeeded"):
                found += [event.program_succeeded.buffer, *(each.buffer for each in event.program_succeeded.further)]
        return found


def estimate(device: str, text: str, *observables: str | Observable, **spec: Any) -> WorkerJob:
    """Run an ESTIMATOR job; names of EstimatorOptions among the arguments are options of the estimator."""
    names = EstimatorOptions.DESCRIPTOR.fields_by_name
    options = {name: spec.pop(name) for name in list(spec) if name in names}
    estimator = EstimatorOptions(observables=map(observable, observables), **options)
    return WorkerJob(device, text, type=ESTIMATOR, estimator=estimator, **spec)


def observable(form: str | Observable) -> Observable:
    """Return an observable of a text."""
    return Observable(expression=form) if isinstance(form, str) else form


def sets(**values: Sequence[float]) -> ParameterSets:
    """Return parameter sets from the values of each name; two underscores stand for brackets: `a__1` is `a[1]`."""
    names = [f"{name.partition('__')[0]}[{name.partition('__')[2]}]" if "__" in name else name for name in values]
    return ParameterSets(names=names, values=np.array(list(values.values()), dtype=float).T.reshape(-1).tolist())
