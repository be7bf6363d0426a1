# SPDX-License-Identifier: Apache-2.0
"""Runs one job inside a worker: a Task in, TaskEvents out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.task_pb2 import ProgramTranslated, Task, TaskDeclined, TaskFinished, TaskStarted
from qonduit.execution.v1.vendor_pb2 import Submission
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType, VendorCost
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit_server.languages.python.source_runner import MemoryNotGranted
from qonduit_server.languages.registry import Languages
from qonduit_server.process.file_cache import FileCache
from qonduit_server.providers.provider import SimulatorProvider, SmallRun, depth_of
from qonduit_server.worker.circuit_runs import CircuitRuns
from qonduit_server.worker.placement_cache import PlacementCache
from qonduit_server.worker.preparation import Environment, Preparation
from qonduit_server.worker.prepared_programs import ReadyProgram, prepare, prepare_all
from qonduit_server.worker.program_cache import ProgramCache
from qonduit_server.worker.program_writing import write_program
from qonduit_server.worker.provenance import ProviderFacts
from qonduit_server.worker.reporting import Emit, Reporter
from qonduit_server.worker.result_encoding import registers_of
from qonduit_server.worker.small_tasks import run_small, small_run


class Runner:
    """Runs tasks in one process.

    Args:
        provider: runs programs; None for a process that only translates.
        languages: reads and writes programs.
        cache: caches programs that were read and compiled.
        files: keeps what takes long to compile, for other processes; None to keep nothing.
    """

    def __init__(
        self,
        provider: SimulatorProvider | None,
        languages: Languages,
        cache: ProgramCache | None = None,
        files: FileCache | None = None,
    ) -> None:
        self.provider = provider
        self.languages = languages
        self.cache = cache or ProgramCache()
        description = provider.describe() if provider else ProviderDescription()
        #: The provider's devices, by name.
        self.devices: dict[str, Device] = {device.name: device for device in description.devices}
        facts = ProviderFacts(provider, description) if provider is not None else None
        placements = PlacementCache(files) if files is not None else None
        self._environment = Environment(provider, languages, self.cache, self.devices, facts, placements)

    def load(self) -> None:
        """Import the provider's SDK and the readers of all languages before the first run."""
        if self.provider is not None:
            self.provider.load()
        self.languages.load()

    def run(self, task: Task, emit: Emit) -> None:
        """Run one task. All progress and errors are emitted as events; the last event is `finished`."""
        _Run(Preparation(task, self._environment, Reporter(task, emit))).run()

    def small_run(self, task: Task) -> SmallRun | None:
        """Return the run of a task that may share a call of the SDK with others; None if it may not."""
        return small_run(task, self._environment)

    def run_together(self, tasks: Sequence[tuple[Task, SmallRun]], emit: Emit) -> None:
        """Run small tasks of one device, with one call of the SDK; each emits the events of `run`."""
        outcomes = run_small(self._environment, tasks[0][0].device, [run for _, run in tasks])
        for (task, _), outcome in zip(tasks, outcomes, strict=True):
            _Run(Preparation(task, self._environment, Reporter(task, emit), outcome)).run()


class _Run:
    """A running task."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._reporter = preparation.reporter
        self._task = preparation.task
        self._submissions: Sequence[Submission] = ()
        self._cost: VendorCost | None = None

    def run(self) -> None:
        self._reporter.send(started=TaskStarted())
        declined = 0
        try:
            if self._task.translate_to:
                declined = self._translate()
            elif self._task.analyze_only:
                declined = self._analyze()
            elif self._task.check_only:
                declined = self._check()
            elif self._task.compile_only:
                declined = self._compile()
            else:
                declined = self._run()
        except Exception as error:  # noqa: BLE001 - whatever a program or an SDK does, the job must end and say why
            failure = self._reporter.failure_of(error)
            diagnostic = self._reporter.diagnostic(error, failure)
            self._reporter.send(finished=TaskFinished(failure=failure, diagnostic=diagnostic))
        else:
            if declined:
                self._reporter.send(declined=TaskDeclined(memory_bytes=declined))
            else:
                self._reporter.send(finished=TaskFinished(submissions=self._submissions, cost=self._cost))

    def _translate(self) -> int:
        """Translate the programs; return as `_run` does."""
        languages, preparation = self._preparation.environment.languages, self._preparation
        for index in range(len(self._task.programs)):
            try:
                began = time.perf_counter()
                circuit = preparation.read(index, MessageToDict(preparation.inputs(index)))
                read = time.perf_counter()
                written = write_program(languages, self._task.translate_to, circuit)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being read
                self._reporter.fail(index, error, None)
                continue
            source = written.source
            translated = ProgramTranslated(
                index=index,
                text=source if isinstance(source, str) else "",
                binary=source if isinstance(source, bytes) else b"",
                warnings=(*circuit.warnings, *written.warnings),
                registers=registers_of(circuit),
                read_seconds=read - began,
                write_seconds=time.perf_counter() - read,
            )
            self._reporter.send(program_translated=translated)
        return 0

    def _analyze(self) -> int:
        """Read the programs, and report their features; returns as `_run` does."""
        from qonduit_server.ir.features import features_of

        for index in range(len(self._task.programs)):
            try:
                features = features_of(self._preparation.read_first(index).quantum)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being read
                self._reporter.fail(index, error, None)
                continue
            features.index = index
            self._reporter.send(program_analyzed=features)
        return 0

    def _check(self) -> int:
        """Check server programs, and report what that found; returns as `_run` does."""
        from qonduit_server.worker.program_checks import check_inputs, check_upload

        is_upload = self._task.spec.type == JobType.JOB_TYPE_IBM_UPLOAD
        for index, program in enumerate(self._task.programs):
            try:
                if is_upload:
                    checked = check_upload(program, self._preparation.environment.languages.sandbox)
                else:
                    checked = check_inputs(program, self._preparation.inputs(index))
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being checked
                self._reporter.fail(index, error, None)
                continue
            checked.index = index
            self._reporter.send(program_checked=checked)
        return 0

    def _compile(self) -> int:
        """Read and compile the programs, and report what that found; returns as `_run` does."""
        self._preparation.check_job()
        ready: list[Any] = []
        for index in range(len(self._task.programs)):
            try:
                program = self._prepare(self._preparation, index)
                ready.append(program)
                compiled = program.compiled
                depth, large = depth_of(compiled.operations()) if compiled.operations is not None else (0, 0)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being compiled
                self._reporter.fail(index, error, self._preparation.circuit)
                continue
            report = CompiledProgram(
                index=index,
                num_qubits=compiled.qubits,
                depth=depth,
                two_qubit_gates=large,
                memory_bytes=program.memory_bytes,
                circuits=program.num_circuits,
                warnings=(*program.circuit.warnings, *compiled.warnings),
            )
            self._reporter.send(program_compiled=report)
        remote = self._preparation.remote
        if remote is not None and len(ready) == len(self._task.programs):
            remote.begin((), self._reporter.mute, self._task.vendor_device, self._task.spec.vendor_options)
            self._run_prepared(ready)
            self._cost = remote.cost()
            if self._cost is None and remote.describe().vendor.estimates_costs:
                self._submissions = remote.submissions()
        return 0

    def _run(self) -> int:
        """Run the programs; return 0, or the memory needed in bytes if that exceeds the granted memory."""
        self._preparation.check_job()
        self._preparation.authenticate()
        ready, need = prepare_all(self._preparation, self._prepare)
        if 0 < self._task.memory_granted_bytes < need:
            return need
        for each in ready:
            self._reporter.warn(each.index, (*each.circuit.warnings, *each.compiled.warnings))
        remote = self._preparation.remote
        if remote is not None:
            remote.begin(
                self._task.vendor_outcomes,
                self._reporter.mute,
                self._task.vendor_device,
                self._task.spec.vendor_options,
            )
        self._run_prepared(ready)
        if remote is not None:
            self._submissions = remote.submissions()
        return 0

    def _run_prepared(self, ready: Sequence[Any]) -> None:
        runs: Any = CircuitRuns
        if self._task.spec.type == JobType.JOB_TYPE_ESTIMATOR:
            from qonduit_server.worker.estimator_runs import EstimatorRuns as runs  # noqa: N813
        runs(self._preparation).run(ready)

    @property
    def _prepare(self) -> Callable[[Preparation, int], ReadyProgram]:
        """What reads and compiles a program of the job's type."""
        if self._task.spec.type != JobType.JOB_TYPE_ESTIMATOR:
            return prepare
        from qonduit_server.worker.observed_program import ObservedProgram

        return ObservedProgram
