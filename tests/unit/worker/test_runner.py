# SPDX-License-Identifier: Apache-2.0
"""The runner: whatever a provider does, the task ends with an outcome."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramNeeds, Task, TaskEvent, TaskProgram
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.capabilities import FEATURES
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.python.source_runner import PythonSource
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions
from qonduit_server.worker import runner
from qonduit_server.worker.program_cache import CachedProgram, ProgramCache

PROGRAM = "OPENQASM 2.0; qreg q[1]; creg c[2];"


class Scripted:
    """A scripted provider: the real ones cannot be made to fail."""

    name = "SCRIPTED"

    def __init__(
        self,
        *outcomes: Outcome | Exception,
        compile: Exception | None = None,
        device: Device | None = None,
        memory_bytes: int = 0,
    ) -> None:
        self._device = device
        self._memory_bytes = memory_bytes
        self.outcomes = outcomes
        self.compiled = 0
        self._compile = compile

    def describe(self) -> ProviderDescription:
        return ProviderDescription(devices=[self._device] if self._device else [])

    def load(self) -> None:
        pass

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> CompiledCircuit:
        self.compiled += 1
        if self._compile is not None:
            raise self._compile
        return CompiledCircuit(None, 1, self._memory_bytes, warnings=("it was bent a little",))

    def probabilities(self, device: str, compiled: CompiledCircuit) -> None:
        return None

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        for outcome in self.outcomes:
            if isinstance(outcome, RunError | Outcome):
                yield outcome
            else:
                raise outcome


def task(*programs: str, shots: int = 10) -> Task:
    return Task(
        job_id=1,
        attempt=1,
        provider="SCRIPTED",
        device="d",
        spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=shots),
        programs=[
            TaskProgram(program_id=k, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text=text)
            for k, text in enumerate(programs)
        ],
    )


def run(provider: Scripted, *programs: str, cache: ProgramCache | None = None) -> list[TaskEvent]:
    events: list[TaskEvent] = []
    runner.Runner(provider, Languages(), cache).run(task(*programs), events.append)
    assert [event.WhichOneof("event") for event in events][:: len(events) - 1] == ["started", "finished"]
    return events


def test_warnings_become_log_lines() -> None:
    events = run(Scripted(Outcome({0: 10})), PROGRAM)
    assert [event.log.message for event in events if event.HasField("log")] == ["it was bent a little"]


def test_counts_of_equal_outcomes_are_added() -> None:
    # The program has 2 bits; the provider measured further ones.
    events = run(Scripted(Outcome({0b001: 4, 0b101: 6})), PROGRAM)
    (result,) = [event.program_succeeded.result for event in events if event.HasField("program_succeeded")]
    assert dict(result.counts_and_probabilities.counts) == {"0x1": 10}
    assert dict(result.counts_and_probabilities.probabilities) == {"0x1": 1.0}


def test_results_list_the_last_declared_register_first() -> None:
    program = "OPENQASM 2.0; qreg q[1]; creg first[2]; creg second[1]; creg third[3];"
    events = run(Scripted(Outcome({0b100_1_10: 7, 0b011_0_01: 3})), program)
    (result,) = [event.program_succeeded.result for event in events if event.HasField("program_succeeded")]
    assert [(each.name, each.size) for each in result.registers] == [("third", 3), ("second", 1), ("first", 2)]
    assert dict(result.counts_and_probabilities.counts) == {"0x4 0x1 0x2": 7, "0x3 0x0 0x1": 3}


def test_a_result_belongs_to_its_program() -> None:
    programs = [f"OPENQASM 2.0; qreg q[1]; creg c{k}[2];" for k in range(3)]
    events = run(Scripted(*(Outcome({k: 10}) for k in range(3))), *programs)
    done = [event.program_succeeded for event in events if event.HasField("program_succeeded")]
    assert [each.index for each in done] == [0, 1, 2]
    for k, each in enumerate(done):
        assert each.result.program_id == k
        assert each.result.registers[0].name == f"c{k}"
        assert dict(each.result.counts_and_probabilities.counts) == {hex(k): 10}


def test_a_provider_that_breaks_down_fails_the_rest() -> None:
    events = run(Scripted(Outcome({0: 10}), ValueError("boom")), PROGRAM, PROGRAM, PROGRAM)
    failures = {e.program_failed.index: e.program_failed.failure for e in events if e.HasField("program_failed")}
    assert sorted(failures) == [1, 2]
    assert failures[1].category == FailureCategory.FAILURE_CATEGORY_INTERNAL
    assert "ValueError: boom" in failures[1].message


def test_a_provider_that_gives_too_little_fails_the_rest() -> None:
    events = run(Scripted(Outcome({0: 10})), PROGRAM, PROGRAM)
    failures = [event.program_failed.index for event in events if event.HasField("program_failed")]
    assert failures == [1]
    assert len(run(Scripted(Outcome({0: 10}), Outcome({0: 10})), PROGRAM)) == len(
        run(Scripted(Outcome({0: 10})), PROGRAM)
    )


def test_a_provider_may_fail_one_program() -> None:
    error = ProviderError("SIMULATION_FAILED", "no", retryable=True, provider_code="E1")
    events = run(Scripted(error, Outcome({0: 10})), PROGRAM, PROGRAM)
    (failed,) = [event.program_failed for event in events if event.HasField("program_failed")]
    assert (failed.index, failed.failure.reason, failed.failure.retryable) == (0, "SIMULATION_FAILED", True)
    assert failed.failure.category == FailureCategory.FAILURE_CATEGORY_PROVIDER
    assert failed.failure.provider_code == "E1"


@pytest.mark.parametrize(
    ("error", "category", "reason"),
    [
        (MemoryError(), "LIMIT", "MEMORY_LIMIT"),
        (DeviceError("UNSUPPORTED_CONSTRUCT", "no"), "DEVICE", "UNSUPPORTED_CONSTRUCT"),
        (RecursionError("deep"), "LIMIT", "TOO_LARGE"),
        (KeyError("x" * 10_000), "INTERNAL", "INTERNAL"),
    ],
)
def test_failures_have_a_category_and_a_bounded_message(error: Exception, category: str, reason: str) -> None:
    events = run(Scripted(compile=error), PROGRAM)
    (failed,) = [event.program_failed.failure for event in events if event.HasField("program_failed")]
    assert FailureCategory.Name(failed.category) == f"FAILURE_CATEGORY_{category}"
    assert failed.reason == reason
    assert len(failed.message) <= 2100


@pytest.mark.parametrize("text", ["", "   \n", "OPENQASM 3.0; qubit q;", "nonsense"])
def test_a_bad_program_is_never_an_internal_failure(text: str) -> None:
    events = run(Scripted(), text)
    (failed,) = [event.program_failed.failure for event in events if event.HasField("program_failed")]
    assert failed.category == FailureCategory.FAILURE_CATEGORY_PROGRAM


def test_a_language_that_is_not_read_is_named_among_those_that_are() -> None:
    events: list[TaskEvent] = []
    job = task(PROGRAM)
    job.programs[0].language = 99  # type: ignore[assignment]  # of a later version
    runner.Runner(Scripted(), Languages()).run(job, events.append)
    (failed,) = [event.program_failed.failure for event in events if event.HasField("program_failed")]
    assert failed.reason == "UNSUPPORTED_LANGUAGE"
    assert "QASM2, QASM3" in failed.message


def test_a_failure_of_the_server_or_an_sdk_carries_its_traceback_and_others_do_not() -> None:
    def diagnostics(events: list[TaskEvent]) -> list[str]:
        return [event.program_failed.diagnostic for event in events if event.HasField("program_failed")]

    (text,) = diagnostics(run(Scripted(compile=ZeroDivisionError("deep inside")), PROGRAM))
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("ZeroDivisionError: deep inside\n")
    (text,) = diagnostics(run(Scripted(compile=ProviderError("BROKEN", "no")), PROGRAM))
    assert "ProviderError: no" in text
    for fault in (DeviceError("TOO_MANY_QUBITS", "no"), MemoryError()):
        assert diagnostics(run(Scripted(compile=fault), PROGRAM)) == [""]
    # A long traceback keeps its end, and a task sends only the first few.
    texts = diagnostics(run(Scripted(compile=ZeroDivisionError("\u00e4" * 10_000)), *[PROGRAM] * 6))
    assert [len(text.encode()) > 8000 for text in texts] == [True] * 4 + [False] * 2
    assert max(len(text.encode()) for text in texts) <= 8192
    assert texts[0].startswith("...")
    assert texts[-1] == ""


def test_each_phase_of_a_program_is_reported_before_it_starts() -> None:
    provider, cache = Scripted(Outcome({0: 10}), Outcome({0: 10})), ProgramCache()
    said = [
        [event.phase.message for event in run(provider, PROGRAM, PROGRAM + " ", cache=cache) if event.HasField("phase")]
        for _ in range(2)
    ]
    running = ["running program 1 of 2", "running program 2 of 2"]
    assert said[1] == running
    assert said[0] == [f"{what} program {n} of 2" for n in (1, 2) for what in ("reading", "compiling")] + running


def test_a_task_without_programs_ends() -> None:
    assert len(run(Scripted())) == 2


def test_programs_are_compiled_once() -> None:
    provider, cache = Scripted(Outcome({0: 10})), ProgramCache()
    for _ in range(3):
        run(provider, PROGRAM, cache=cache)
    assert provider.compiled == 1


def test_a_program_with_other_inputs_is_another_program() -> None:
    provider, keeping = Scripted(Outcome({0: 10})), ProgramCache()
    for angle in (0.1, 0.2, 0.1):
        events: list[TaskEvent] = []
        job = task("OPENQASM 3.0; input float a; qubit q; bit c; U(a, 0, 0) q; c = measure q;")
        job.programs[0].language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
        job.programs[0].inputs.update({"a": angle})
        runner.Runner(provider, Languages(), keeping).run(job, events.append)
        assert events[-1].WhichOneof("event") == "finished"
    assert provider.compiled == 2


def test_a_program_with_another_noise_model_or_method_is_another_program() -> None:
    every = DeviceCapabilities(**dict.fromkeys(FEATURES, True), methods=[SimulationMethod(name="m", max_qubits=9)])  # type: ignore[arg-type]
    provider = Scripted(Outcome({0: 10}), device=Device(name="d", num_qubits=9, is_simulator=True, capabilities=every))
    cache = ProgramCache()
    for probability, method in ((0.1, ""), (0.2, ""), (0.1, ""), (0.1, "m")):
        events: list[TaskEvent] = []
        job = task(PROGRAM)
        job.device = "d"
        job.spec.noise_model.gate_errors.add(gates=["h"]).channel.bit_flip = probability
        job.spec.simulation.method = method
        runner.Runner(provider, Languages(), cache).run(job, events.append)
        assert events[-1].WhichOneof("event") == "finished"
        assert not events[-1].finished.HasField("failure")
    assert provider.compiled == 3


@pytest.mark.parametrize(("own", "of_job"), [({"a": 0.1}, {}), ({}, {"a": 0.1}), ({"a": 9.0}, {"a": 0.1})])
def test_inputs_of_the_job_override_those_of_a_program(own: dict[str, float], of_job: dict[str, float]) -> None:
    provider, keeping = Scripted(Outcome({0: 10})), ProgramCache()
    for each, more in (({"a": 0.1}, {}), (own, of_job)):
        job = task("OPENQASM 3.0; input float a; qubit q; bit c; U(a, 0, 0) q; c = measure q;")
        job.programs[0].language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
        job.programs[0].inputs.update(each)
        job.spec.inputs.update(more)
        events: list[TaskEvent] = []
        runner.Runner(provider, Languages(), keeping).run(job, events.append)
        assert any(event.HasField("program_succeeded") for event in events)
    assert provider.compiled == 1  # it was the same program both times


def kinds(events: list[TaskEvent]) -> list[str]:
    """Return the kinds of events, without phases, which only the log and ListWorkers show."""
    return [kind for event in events if (kind := event.WhichOneof("event") or "") != "phase"]


def test_a_task_that_needs_more_memory_than_it_was_granted_is_declined_and_runs_nothing() -> None:
    def emitted(granted: int, before: bool = False) -> list[TaskEvent]:
        events: list[TaskEvent] = []
        job = task(PROGRAM)
        job.memory_granted_bytes, job.declined_before = granted, before
        runner.Runner(Scripted(Outcome({0: 10}), memory_bytes=1000), Languages()).run(job, events.append)
        return events

    declined = emitted(999)
    assert declined[-1].declined.memory_bytes == 1000
    assert kinds(declined) == ["started", "program_started", "declined"]
    for granted in (0, 1000):  # 0: there is no limit
        assert [event.HasField("program_succeeded") for event in emitted(granted)].count(True) == 1
    # The start of a program is not reported twice; its warnings were not reported before.
    assert kinds(emitted(1000, before=True)) == ["started", "log", "program_succeeded", "progress", "finished"]


def test_a_program_that_cannot_be_read_moves_no_other() -> None:
    events = run(Scripted(Outcome({1: 10}), Outcome({2: 10})), PROGRAM, "nonsense", PROGRAM)
    done = {
        each.program_succeeded.index: each.program_succeeded for each in events if each.HasField("program_succeeded")
    }
    counts = {index: dict(each.result.counts_and_probabilities.counts) for index, each in done.items()}
    assert counts == {0: {"0x1": 10}, 2: {"0x2": 10}}
    assert {index: each.result.program_id for index, each in done.items()} == {0: 0, 2: 2}


def test_the_cache_is_bounded() -> None:
    def kept() -> CachedProgram:
        return CachedProgram(Circuit(None, ()), CompiledCircuit(None, 0), (), 0.0, 0.0)  # type: ignore[arg-type]

    cache = ProgramCache(entries=2, source_bytes=100)
    for name in "ab":
        cache.put((name,), 10, kept())
    assert cache.get(("a",)) is not None  # now b is the oldest
    cache.put(("c",), 10, kept())
    assert cache.get(("b",)) is None
    assert cache.get(("a",)) is not None
    cache.put(("large",), 26, kept())
    assert cache.get(("large",)) is None


def test_missing_features_are_reported_before_anything_is_compiled() -> None:
    device = Device(name="d", num_qubits=2, capabilities=DeviceCapabilities(mid_circuit_measurement=True))
    provider = Scripted(Outcome({0: 10}), device=device)
    branching = "OPENQASM 2.0; qreg q[2]; creg c[1]; measure q[0] -> c[0]; if(c==1) U(0,0,0) q[1];"
    three = "OPENQASM 2.0; qreg q[3]; creg c[1];"
    events = run(provider, branching, three, PROGRAM)
    first, second = [event.program_failed for event in events if event.HasField("program_failed")]
    assert first.failure.category == FailureCategory.FAILURE_CATEGORY_DEVICE
    assert first.failure.reason == "UNSUPPORTED_CONSTRUCT"
    assert first.failure.message == "SCRIPTED/d has no operations conditioned on measured bits (line 1)"
    assert first.needs == ProgramNeeds(num_qubits=2, mid_circuit_measurement=True, conditionals=True, clifford=True)
    assert (second.failure.reason, second.failure.message) == (
        "TOO_MANY_QUBITS", "the program has 3 qubits, SCRIPTED/d has 2")  # fmt: skip
    assert second.needs == ProgramNeeds(num_qubits=3, clifford=True)
    assert provider.compiled == 1


def test_the_line_of_a_missing_feature_is_reported_where_it_is_known() -> None:
    class Knowing(Languages):
        def read(self, *program: Any, **options: Any) -> Circuit:
            return replace(super().read(*program, **options), lines={"conditionals": 7})

    text = "OPENQASM 2.0; qreg q[2]; creg c[1]; measure q[0] -> c[0]; if(c==1) U(0,0,0) q[1];"
    events: list[TaskEvent] = []
    device = Device(name="d", capabilities=DeviceCapabilities(mid_circuit_measurement=True))
    runner.Runner(Scripted(device=device), Knowing()).run(task(text), events.append)
    (failed,) = [event.program_failed for event in events if event.HasField("program_failed")]
    assert failed.failure.line == 7
    assert failed.failure.message.endswith("(line 7)")


def test_only_failures_of_the_device_carry_requirements() -> None:
    events = run(Scripted(compile=ProviderError("BROKEN", "no")), PROGRAM)
    (failed,) = [event.program_failed for event in events if event.HasField("program_failed")]
    assert not failed.HasField("needs")
    (failed,) = [
        event.program_failed
        for event in run(Scripted(compile=MemoryError()), PROGRAM)
        if event.HasField("program_failed")
    ]
    assert failed.needs == ProgramNeeds(num_qubits=1, clifford=True)


SOURCE = "import qiskit\ncircuit = qiskit.QuantumCircuit(1, 1)\ncircuit.measure(0, 0)\nprint('built')"


def sourced(granted_bytes: int, *, again: bool = False, **more: Any) -> list[TaskEvent]:
    """Run a task with a plain program and one in Python source, with `granted_bytes` of memory."""
    job = task(PROGRAM, SOURCE)
    job.programs[1].language = AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON
    job.memory_limit_bytes, job.memory_granted_bytes, job.declined_before = 512 << 20, granted_bytes, again
    job.MergeFrom(Task(**more))
    events: list[TaskEvent] = []
    languages = Languages(sandbox=PythonSource({"PYTHON": sys.executable}))
    runner.Runner(Scripted(Outcome({0: 10}), Outcome({0: 10})), languages).run(job, events.append)
    return events


def test_a_task_asks_for_the_memory_of_its_source_before_that_runs() -> None:
    first = sourced(128 << 20)
    assert [each.program_started.index for each in first if each.HasField("program_started")] == [0, 1]
    assert first[-1].declined.memory_bytes == 512 << 20
    assert not any(each.HasField("log") or each.HasField("program_failed") for each in first)
    second = sourced(512 << 20, again=True)
    assert [each.program_succeeded.index for each in second if each.HasField("program_succeeded")] == [0, 1]
    # Warnings of the programs are reported once, by the run that reads all of them.
    warnings = [each.log.message for each in second if each.HasField("log")]
    assert warnings == ["it was bent a little", "the source printed: built", "it was bent a little"]
    assert not any(each.HasField("program_started") for each in second)


def test_translating_and_compiling_ask_as_well() -> None:
    qasm3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
    for what in ({"compile_only": True}, {"translate_to": qasm3}):
        assert sourced(128 << 20, **what)[-1].declined.memory_bytes == 512 << 20
        assert sourced(512 << 20, **what)[-1].HasField("finished")
