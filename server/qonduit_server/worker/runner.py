# SPDX-License-Identifier: Apache-2.0
"""Runs one job inside a worker: a Task in, TaskEvents out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramStarted,
    ProgramSucceeded,
    ProgramTranslated,
    Task,
    TaskDeclined,
    TaskEvent,
    TaskFinished,
    TaskPhase,
    TaskProgram,
    TaskProgress,
    TaskStarted,
)
from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.result_pb2 import Register, Result
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.languages.python.source_runner import Memory, MemoryNotGranted
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompileOptions, RunProgress, SimulatorProvider, depth_of
from qonduit_server.worker.device_checks import check_job, check_program
from qonduit_server.worker.failures import failure_of, traceback_of
from qonduit_server.worker.program_cache import CachedProgram, ProgramCache
from qonduit_server.worker.program_writing import write_program
from qonduit_server.worker.result_encoding import check_statevector, encode_counts, encode_statevector

Emit = Callable[[TaskEvent], None]

#: The share of reading and compiling in a job's progress.
_PREPARING: Final = 0.1
#: Maximum number of tracebacks that a task sends.
_DIAGNOSTICS: Final = 4
#: Categories of failures that the server or an SDK may have caused.
_DIAGNOSED: Final = frozenset((FailureCategory.FAILURE_CATEGORY_INTERNAL, FailureCategory.FAILURE_CATEGORY_PROVIDER))
#: Metadata that describe the counts only; the rest also applies to the statevector.
_OF_SHOTS: Final = frozenset(
    (
        "seed", "method", "run_seconds", "qubits", "helper_qubits", "branches", "floating_point", "approximate",
        "discarded_weight", "fidelity_bound", "max_bond_dimension", "truncation_threshold",
    )
)  # fmt: skip


class Runner:
    """Runs tasks in one process.

    Args:
        provider: runs programs; None for a process that only translates.
        languages: reads and writes programs.
        cache: caches programs that were read and compiled.
    """

    def __init__(
        self, provider: SimulatorProvider | None, languages: Languages, cache: ProgramCache | None = None
    ) -> None:
        self.provider = provider
        self.languages = languages
        self.cache = cache or ProgramCache()
        devices = provider.describe().devices if provider else ()
        #: The provider's devices, by name.
        self.devices: dict[str, Device] = {device.name: device for device in devices}

    def load(self) -> None:
        """Import the provider's SDK and the readers of all languages before the first run."""
        if self.provider is not None:
            self.provider.load()
        self.languages.load()

    def run(self, task: Task, emit: Emit) -> None:
        """Run one task. All progress and errors are emitted as events; the last event is `finished`."""
        _Run(task, emit, self).run()


class _Run:
    """The state of a running task."""

    def __init__(self, task: Task, emit: Emit, runner: Runner) -> None:
        self._task = task
        self._emit = emit
        self._runner = runner
        self._progress = -1.0
        self._diagnostics = 0
        #: The options that a compiled program depends on, as bytes: part of its key in the cache.
        self._simulation = task.spec.simulation.SerializeToString(deterministic=True)
        self._noise = task.spec.noise_model.SerializeToString(deterministic=True)
        self._options = CompileOptions(
            task.memory_limit_bytes,
            task.spec.include_statevector,
            1 << task.spec.shots.bit_length(),
            task.spec.simulation,
        )
        #: The program that is being compiled, once it is read.
        self._circuit: Circuit | None = None

    def run(self) -> None:
        self._send(started=TaskStarted())
        declined = 0
        try:
            if self._task.translate_to:
                declined = self._translate()
            elif self._task.analyze_only:
                declined = self._analyze()
            elif self._task.compile_only:
                declined = self._compile(self._provider())
            else:
                declined = self._run(self._provider())
        except Exception as error:  # noqa: BLE001 - whatever a program or an SDK does, the job must end and say why
            failure = failure_of(error)
            self._send(finished=TaskFinished(failure=failure, diagnostic=self._diagnostic(error, failure)))
        else:
            if declined:
                self._send(declined=TaskDeclined(memory_bytes=declined))
            else:
                self._send(finished=TaskFinished())

    def _provider(self) -> SimulatorProvider:
        if self._runner.provider is None:
            raise DeviceError("UNKNOWN_DEVICE", f"this process does not run programs of {self._task.provider}")
        return self._runner.provider

    def _translate(self) -> int:
        """Translate the programs; return as `_run` does."""
        for index, program in enumerate(self._task.programs):
            try:
                began = time.perf_counter()
                circuit = self._read(program, self._inputs(program))
                read = time.perf_counter()
                written = write_program(self._runner.languages, self._task.translate_to, circuit)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being read
                self._fail(index, error, None)
                continue
            source = written.source
            translated = ProgramTranslated(
                index=index,
                text=source if isinstance(source, str) else "",
                binary=source if isinstance(source, bytes) else b"",
                warnings=(*circuit.warnings, *written.warnings),
                registers=_registers(circuit),
                read_seconds=read - began,
                write_seconds=time.perf_counter() - read,
            )
            self._send(program_translated=translated)
        return 0

    def _analyze(self) -> int:
        """Read the programs, and report their features; returns as `_run` does."""
        from qonduit_server.ir.features import features_of

        for index, program in enumerate(self._task.programs):
            try:
                features = features_of(self._read_noisy(program, self._inputs(program)).quantum)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being read
                self._fail(index, error, None)
                continue
            features.index = index
            self._send(program_analyzed=features)
        return 0

    def _compile(self, provider: SimulatorProvider) -> int:
        """Read and compile the programs, and report what that found; returns as `_run` does."""
        check_job(self._device(), self._device_name, self._task.spec)
        for index, program in enumerate(self._task.programs):
            try:
                cached, _ = self._read_and_compile(index, program, provider)
                compiled = cached.compiled
                depth, large = depth_of(compiled.operations()) if compiled.operations is not None else (0, 0)
            except MemoryNotGranted as short:
                return short.memory_bytes
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being compiled
                self._fail(index, error, self._circuit)
                continue
            report = CompiledProgram(
                index=index,
                num_qubits=compiled.qubits,
                depth=depth,
                two_qubit_gates=large,
                memory_bytes=compiled.memory_bytes,
                circuits=compiled.circuits,
                warnings=(*cached.circuit.warnings, *compiled.warnings),
            )
            self._send(program_compiled=report)
        return 0

    def _read(self, program: TaskProgram, inputs: Struct) -> Circuit:
        memory = Memory(self._task.memory_limit_bytes, self._task.memory_granted_bytes)
        names: frozenset[str] = frozenset()
        if self._noise:
            from qonduit_server.ir.noise_pass import gate_names

            names = gate_names(self._task.spec.noise_model)
        return self._runner.languages.read(
            program.language, program.text, program.binary, MessageToDict(inputs), memory, names
        )

    def _read_noisy(self, program: TaskProgram, inputs: Struct) -> Circuit:
        """Read a program and add the noise of the job's noise model."""
        circuit = self._read(program, inputs)
        if not self._noise:
            return circuit
        from qonduit_server.ir.noise_pass import with_noise

        return with_noise(circuit, self._task.spec.noise_model, self._options.optimization_level)

    def _inputs(self, program: TaskProgram) -> Struct:
        """Return the values for a program's inputs: its own, overridden by those of the job."""
        inputs = Struct()
        for given in (program.inputs, self._task.spec.inputs):
            for name, value in given.fields.items():
                inputs.fields[name].CopyFrom(value)
        return inputs

    @property
    def _device_name(self) -> str:
        return f"{self._task.provider}/{self._task.device}"

    def _device(self) -> Device:
        """Return the description of the job's device; an empty one if the provider does not describe it."""
        return self._runner.devices.get(self._task.device, Device())

    def _run(self, provider: SimulatorProvider) -> int:
        """Run the programs; return 0, or the memory needed in bytes if that exceeds the granted memory."""
        task = self._task
        check_job(self._device(), self._device_name, self._task.spec)
        number = len(task.programs)
        ready, failed, need = self._compile_all(provider)
        if 0 < task.memory_granted_bytes < need:
            return need
        for index, cached, _ in ready:
            for warning in (*cached.circuit.warnings, *cached.compiled.warnings):
                self._log(LogLevel.LOG_LEVEL_WARNING, warning, task.programs[index].program_id)
        if ready:
            self._report_phase("running", ready[0][0], ready[0][1])
        spec = task.spec
        seed = spec.seed if spec.HasField("seed") else None
        outcomes = provider.run(task.device, [cached.compiled for _, cached, _ in ready], spec.shots, seed)

        def progressed(done: int, share: float) -> None:
            self._report_progress(
                (failed + done + share * (1 - _PREPARING) + (len(ready) - done) * _PREPARING) / number, "running"
            )

        each = zip(ready, self._each(outcomes, len(ready), progressed), strict=True)
        for done, ((index, cached, hit), outcome) in enumerate(each, start=1):
            if isinstance(outcome, Outcome):
                self._succeed(provider, index, cached, hit, outcome)
            else:
                self._fail(index, outcome, cached.circuit)
            self._report_progress(
                (failed + done + (len(ready) - done) * _PREPARING) / number, "running" if number > 1 else ""
            )
            if done < len(ready):
                self._report_phase("running", ready[done][0], ready[done][1])
        return 0

    def _compile_all(self, provider: SimulatorProvider) -> tuple[list[tuple[int, CachedProgram, bool]], int, int]:
        """Read and compile the programs; return those that may run, how many failed, and the memory needed in bytes."""
        task = self._task
        number = len(task.programs)
        ready: list[tuple[int, CachedProgram, bool]] = []
        failed = need = 0
        for index, program in enumerate(task.programs):
            if not task.declined_before:
                self._send(program_started=ProgramStarted(index=index))
            try:
                cached, hit = self._read_and_compile(index, program, provider)
            except MemoryNotGranted as short:
                need = max(need, short.memory_bytes)
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from running
                self._fail(index, error, self._circuit)
                failed += 1
            else:
                ready.append((index, cached, hit))
            if number > 1:
                self._report_progress((failed + (index + 1 - failed) * _PREPARING) / number, "reading and compiling")
        # Programs run one after another: the largest determines the memory.
        return ready, failed, max((need, *(cached.compiled.memory_bytes for _, cached, _ in ready)))

    def _each(
        self, outcomes: Iterator[Outcome | RunError | RunProgress], number: int, done: Callable[[int, float], None]
    ) -> Iterator[Outcome | Exception]:
        """Yield a provider's outcomes, one each; where it breaks down, the rest fail with its error."""
        given = 0
        try:
            for outcome in outcomes:
                if isinstance(outcome, RunProgress):
                    done(given, outcome.share)
                    continue
                given += 1
                yield outcome
                if given == number:
                    break
        except Exception as error:  # noqa: BLE001 - see run()
            for _ in range(number - given):
                yield error
        else:
            for _ in range(number - given):
                yield ProviderError("RESULT_MISSING", f"{self._task.provider} gave no result for this program")

    def _read_and_compile(
        self, index: int, program: TaskProgram, provider: SimulatorProvider
    ) -> tuple[CachedProgram, bool]:
        task = self._task
        inputs = self._inputs(program)
        exact = self._options.statevector
        named = inputs.SerializeToString(deterministic=True)
        key = (
            program.language,
            program.text or program.binary,
            named,
            task.device,
            task.memory_limit_bytes,
            exact,
            self._simulation,
            self._noise,
        )
        # How a noisy circuit is simulated, and the blocks of its shots, depend on the number of shots.
        cached = self._runner.cache.get(key) or self._runner.cache.get((*key, self._options.shots))
        if cached is not None:
            return cached, True
        self._report_phase("reading", index)
        began = time.perf_counter()
        self._circuit = None
        circuit = self._circuit = self._read_noisy(program, inputs)
        parsed = time.perf_counter()
        if task.device in self._runner.devices:
            check_program(self._device(), self._device_name, task.spec, circuit)
        self._report_phase("compiling", index)
        if exact:
            check_statevector(circuit.quantum.num_qubits, task.max_result_bytes)
        compiled = provider.compile(circuit, task.device, self._options)
        cached = CachedProgram(circuit, compiled, _registers(circuit), parsed - began, time.perf_counter() - parsed)
        from qonduit_server.ir.noise import has_noise

        if has_noise(circuit.quantum) or compiled.sliceable:
            key = (*key, self._options.shots)  # type: ignore[assignment]
        self._runner.cache.put(key, len(program.text) + len(program.binary), cached)
        return cached, False

    def _fail(self, index: int, error: Exception, circuit: Circuit | None) -> None:
        failure = failure_of(error)
        failed = ProgramFailed(index=index, failure=failure, diagnostic=self._diagnostic(error, failure))
        device = failed.failure.category == FailureCategory.FAILURE_CATEGORY_DEVICE
        if circuit is not None and (device or failed.failure.reason == "MEMORY_LIMIT"):
            failed.needs.CopyFrom(requirements_of(circuit.quantum))
            from qonduit_server.ir.clifford import is_clifford

            failed.needs.clifford = is_clifford(circuit.quantum)
        self._send(program_failed=failed)

    def _diagnostic(self, error: BaseException, failure: Failure) -> str:
        """Return the traceback of an error, for the server's log; empty where the program is at fault."""
        if failure.category not in _DIAGNOSED or self._diagnostics >= _DIAGNOSTICS:
            return ""
        self._diagnostics += 1
        return traceback_of(error)

    def _succeed(
        self, provider: SimulatorProvider, index: int, cached: CachedProgram, hit: bool, outcome: Outcome
    ) -> None:
        succeeded = ProgramSucceeded(index=index, result=self._result(index, cached, hit, outcome))
        try:
            succeeded.buffer = encode_counts(
                succeeded.result, cached.circuit, outcome.counts, self._task.max_result_bytes
            )
            if self._task.spec.include_statevector:
                self._add_statevector(succeeded, provider, cached, outcome)
        except Exception as error:  # noqa: BLE001 - see run()
            self._fail(index, error, cached.circuit)
        else:
            self._send(program_succeeded=succeeded)

    def _add_statevector(
        self, succeeded: ProgramSucceeded, provider: SimulatorProvider, cached: CachedProgram, outcome: Outcome
    ) -> None:
        began = time.perf_counter()
        amplitudes = provider.statevector(self._task.device, cached.compiled)
        seconds = time.perf_counter() - began
        further = succeeded.further.add(result=Result(program_id=succeeded.result.program_id))
        metadata = {name: value for name, value in outcome.meta_data.items() if name not in _OF_SHOTS}
        further.result.meta_data.update({**metadata, "method": "statevector", "run_seconds": seconds})  # type: ignore[dict-item]
        further.buffer = encode_statevector(further.result, amplitudes, self._task.max_result_bytes)

    def _result(self, index: int, cached: CachedProgram, hit: bool, outcome: Outcome) -> Result:
        """Return a result without its entries."""
        result = Result(
            program_id=self._task.programs[index].program_id, shots=self._task.spec.shots, registers=cached.registers
        )
        result.meta_data.update(outcome.meta_data)  # type: ignore[arg-type]  # JSON values
        result.meta_data.update(
            {
                "parse_seconds": 0.0 if hit else cached.parse_seconds,
                "compile_seconds": 0.0 if hit else cached.compile_seconds,
                "from_cache": hit,
                "operations": len(cached.circuit.quantum.data),
            }
        )
        return result

    def _report_progress(self, progress: float, message: str) -> None:
        """Report progress if it grew by at least a hundredth, and always its end."""
        progress = min(1.0, progress)
        if progress >= self._progress + 0.01 or (progress >= 1.0 > self._progress):
            self._progress = progress
            self._send(progress=TaskProgress(progress=progress, message=message))

    def _report_phase(self, what: str, index: int, cached: CachedProgram | None = None) -> None:
        """Report the current phase of a program; phases are not stored."""
        note = " (one evolution, no progress)" if cached is not None and cached.compiled.sliceable is False else ""
        self._send(phase=TaskPhase(message=f"{what} program {index + 1} of {len(self._task.programs)}{note}"))

    def _log(self, level: LogLevel, message: str, program_id: int) -> None:
        self._send(log=LogLine(level=level, message=message, program_id=program_id))

    def _send(self, **event: object) -> None:
        self._emit(TaskEvent(job_id=self._task.job_id, attempt=self._task.attempt, **event))  # type: ignore[arg-type]


def _registers(circuit: Circuit) -> tuple[Register, ...]:
    """Return a program's registers, in the order of keys."""
    return tuple(Register(name=register.name, size=len(register.bits)) for register in reversed(circuit.registers))
