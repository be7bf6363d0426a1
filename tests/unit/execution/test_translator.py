# SPDX-License-Identifier: Apache-2.0
"""The translator with real processes: no process before the first program, and every caller gets its own response."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider
from qonduit_server.errors import Unavailable
from qonduit_server.execution.local.interactive_pools import InteractivePools
from qonduit_server.execution.local.translator import Translator
from tests.unit.execution.pool_fixture import PATIENCE, Gate, environment, wait_gone

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
CIRQ = AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ
PROGRAM = ("-m", "tests.unit.execution.fake_translators")


@contextmanager
def translator(
    *, lacks: str = "", workers: int = 2, pythons: dict[str, str] | None = None, **options: float
) -> Iterator[Translator]:
    """Yield a translator whose workers execute the commands in programs; stop it and its processes at the end."""
    variables = environment(TRANSLATING_LACKS=lacks)
    pools = InteractivePools(workers, pythons=pythons, program=PROGRAM, environment=variables, show_errors=True)
    made = Translator(pools, **options)
    try:
        yield made
    finally:
        processes = made.processes()
        made.stop(PATIENCE)
        wait_gone(processes)


def ask(
    made: Translator,
    text: str,
    seconds: float = inf,
    add_callback: Callable[[Callable[[], None]], bool] = lambda _: True,
    **inputs: float,
) -> TranslateProgramResponse | Failure:
    """Translate a program to Cirq."""
    given = Struct()
    given.update(inputs)
    return made.translate(
        QuantumProgram(quantum_circuit=text, assembler_language=QASM2), CIRQ, given, seconds, add_callback
    )


def text_of(answer: TranslateProgramResponse | Failure) -> str:
    """Return the translation."""
    assert isinstance(answer, TranslateProgramResponse), answer
    return answer.program.quantum_circuit


def why(answer: TranslateProgramResponse | Failure) -> tuple[str, str]:
    """Return category and reason of a failure."""
    assert isinstance(answer, Failure), answer
    assert answer.message or answer.reason == "CANCELLED"
    return FailureCategory.Name(answer.category).removeprefix("FAILURE_CATEGORY_"), answer.reason


class Waiting:
    """A program that waits in a worker, and the call that waits for it."""

    def __init__(self, made: Translator, folder: Path, **options: Any) -> None:
        self.gate = Gate(folder, f"gate{len(list(folder.iterdir()))}")
        self._worker = self.gate.path.with_suffix(".pid")
        os.mkfifo(self._worker)
        self.over: list[Callable[[], None]] = []
        options.setdefault("add_callback", lambda do: self.over.append(do) is None)
        self.answer: Future[Any] = ThreadPoolExecutor(1).submit(ask, made, f"wait {self.gate.path}", **options)

    def worker(self) -> int:
        """Return the id of the process that runs it; call it only once."""
        return int(self._worker.read_text())

    def result(self) -> TranslateProgramResponse | Failure:
        """Return its outcome."""
        answer: TranslateProgramResponse | Failure = self.answer.result(PATIENCE)
        return answer


def test_costs_no_process_until_the_first_program_comes() -> None:
    with translator() as made:
        assert made.processes() == []
        answer = ask(made, "emit hello", theta=0.5)
        assert text_of(answer) == "hello in 5 with {'theta': 0.5}"
        assert isinstance(answer, TranslateProgramResponse)
        assert answer.program.assembler_language == CIRQ
        assert list(answer.warnings) == ["it was bent a little"]
        assert [(each.name, each.size) for each in answer.registers] == [("b", 2), ("a", 1)]
        assert (answer.read_seconds, answer.write_seconds) == (0.25, 0.5)
        assert len(made.processes()) >= 2
    assert made.processes() == []


def test_each_of_many_callers_gets_its_own_answer() -> None:
    with translator() as made, ThreadPoolExecutor(64) as callers:
        answers = callers.map(lambda number: text_of(ask(made, f"emit {number}")), range(256))
        assert [answer.split()[0] for answer in answers] == [str(number) for number in range(256)]


def test_a_failure_is_the_one_that_the_worker_reported() -> None:
    with translator() as made:
        failure = ask(made, "fail PROGRAM SYNTAX_ERROR no semicolon")
        assert why(failure) == ("PROGRAM", "SYNTAX_ERROR")
        assert isinstance(failure, Failure)
        assert (failure.message, failure.line, failure.column) == ("no semicolon", 3, 5)
        assert why(ask(made, "forget"))[0] == "INTERNAL"


def test_a_program_whose_worker_is_killed_moves_to_another_one(tmp_path: Path) -> None:
    with translator() as made:
        one = Waiting(made, tmp_path)
        os.kill(one.worker(), signal.SIGKILL)
        one.worker()
        one.gate.open()
        assert text_of(one.result())


def test_a_program_that_kills_two_workers_fails_alone(tmp_path: Path) -> None:
    with translator() as made:
        one, two = Waiting(made, tmp_path), Waiting(made, tmp_path)
        two.worker()
        for _ in range(2):
            os.kill(one.worker(), signal.SIGKILL)
        failure = one.result()
        assert why(failure) == ("WORKER", "WORKER_DIED")
        assert isinstance(failure, Failure)
        assert "SIGKILL" in failure.message
        assert text_of(ask(made, "emit on")).startswith("on")
        two.gate.open()
        assert text_of(two.result())


def test_a_caller_that_disconnects_after_its_worker_was_killed(tmp_path: Path) -> None:
    with translator(workers=1) as made:
        one = Waiting(made, tmp_path)
        os.kill(one.worker(), signal.SIGKILL)
        worker = one.worker()
        one.over[0]()
        assert why(one.result()) == ("WORKER", "CANCELLED")
        wait_gone([worker])


def test_a_killed_fork_server_is_replaced(tmp_path: Path) -> None:
    with translator() as made:
        one = Waiting(made, tmp_path)
        one.worker()
        os.kill(made.processes()[0], signal.SIGKILL)
        one.worker()
        one.gate.open()
        assert text_of(one.result())


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with translator(workers=1, max_seconds=0.2) as made:
        one = Waiting(made, tmp_path)
        worker = one.worker()
        failure = one.result()
        assert why(failure) == ("LIMIT", "TIME_LIMIT")
        assert isinstance(failure, Failure)
        assert "0.2 s" in failure.message
        wait_gone([worker])
        assert text_of(ask(made, "emit on")).startswith("on")


def test_a_disconnected_caller_ends_its_program(tmp_path: Path) -> None:
    with translator(workers=1) as made:
        one = Waiting(made, tmp_path)
        worker = one.worker()
        behind = Waiting(made, tmp_path)
        (go,) = one.over
        go()
        assert why(one.result()) == ("WORKER", "CANCELLED")
        wait_gone([worker])
        behind.worker()
        behind.gate.open()
        assert text_of(behind.result())
        go()  # called at every end of a call; has no effect after it
        assert text_of(ask(made, "emit on")).startswith("on")


def test_a_caller_already_disconnected_or_out_of_time(tmp_path: Path) -> None:
    with translator(workers=1) as made:
        assert why(Waiting(made, tmp_path, add_callback=lambda _: False).result()) == ("WORKER", "CANCELLED")
        assert why(Waiting(made, tmp_path, seconds=0.1).result()) == ("WORKER", "CANCELLED")
        assert text_of(ask(made, "emit on")).startswith("on")


def test_a_caller_without_a_deadline_gets_a_response(tmp_path: Path) -> None:
    with translator(workers=1, patience=0.3) as made:
        assert why(Waiting(made, tmp_path).result()) == ("LIMIT", "NO_TIME")


def test_stopping_fails_waiting_calls(tmp_path: Path) -> None:
    with translator(workers=1) as made:
        one = Waiting(made, tmp_path)
        one.worker()
        behind = Waiting(made, tmp_path)
        made.stop(PATIENCE)
        for each in (one, behind):
            with pytest.raises(Unavailable) as caught:
                each.result()
            assert caught.value.reason == "DRAINING"
        with pytest.raises(Unavailable):
            ask(made, "emit late")


def test_a_python_without_the_required_packages_is_reported() -> None:
    with translator(lacks="qiskit") as made:
        failure = ask(made, "emit hello")
        assert why(failure) == ("PROVIDER", "SDK_UNAVAILABLE")
        assert isinstance(failure, Failure)
        assert failure.message.startswith("Translation is not available on this server")
        assert "qiskit" in failure.message


def compile_job(made: Translator, text: str, provider: str = "IBM", seconds: float = inf) -> Any:
    """Compile a job of one program."""
    given = Struct()
    given.update({"theta": 0.5})
    task = Task(provider=provider, device="d", programs=[TaskProgram(language=QASM2, text=text, inputs=given)])
    return made.compile(task, seconds, lambda _: True)


def test_a_job_is_compiled_in_a_process_of_its_provider() -> None:
    with translator() as made:
        for provider in ("IBM", "GOOGLE"):
            (compiled,), failed, _ = compile_job(made, "emit hello", provider)
            assert (compiled.index, compiled.num_qubits, len(failed)) == (0, 2, 0)
            assert list(compiled.warnings) == [f"hello for {provider}/d with {{'theta': 0.5}}"]
        assert text_of(ask(made, "emit on")).startswith("on")
        assert len(made.processes()) >= 6  # a fork server and a worker for each


def test_compilations_for_all_providers_share_the_places_and_translations_do_not_wait_for_them(tmp_path: Path) -> None:
    gate = Gate(tmp_path, "gate")
    os.mkfifo(running := gate.path.with_suffix(".pid"))
    with translator(workers=1) as made, ThreadPoolExecutor(1) as threads:
        compile_job(made, "emit hello", "GOOGLE")  # from now on, its process is warm
        first = threads.submit(compile_job, made, f"wait {gate.path}")
        running.read_text()
        assert why(compile_job(made, "emit hello", "GOOGLE", seconds=0.5)) == ("WORKER", "CANCELLED")
        assert text_of(ask(made, "emit on")).startswith("on")
        gate.open()
        assert first.result(PATIENCE)
        assert compile_job(made, "emit hello", "GOOGLE")[0]


def test_compilation_errors_are_reported_for_each_program() -> None:
    with translator() as made:
        compiled, (failed,), _ = compile_job(made, "fail PROGRAM UNKNOWN_GATE no gate foo")
        assert not compiled
        assert (failed.index, failed.failure.reason, failed.failure.line) == (0, "UNKNOWN_GATE", 3)
        assert why(compile_job(made, "emit hello", "UNKNOWN"))[0] == "PROVIDER"


def test_compiling_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    gate = Gate(tmp_path, "gate")
    with translator(workers=1, compile_seconds=0.2) as made:
        failure = compile_job(made, f"wait {gate.path}")
        assert why(failure) == ("LIMIT", "TIME_LIMIT")
        assert "0.2 s" in failure.message
        assert compile_job(made, "emit on")[0]


def test_processes_that_compile_are_replaced_when_their_provider_has_changed() -> None:
    with translator() as made:
        made.adopt(ProviderDescription(provider=Provider(name="IBM")))
        assert not made.processes()
        assert compile_job(made, "emit hello")[0]
        before = made.processes()
        made.adopt(ProviderDescription(provider=Provider(name="IBM")))
        assert compile_job(made, "emit hello")[0]
        assert set(before).isdisjoint(made.processes())


def test_a_job_is_compiled_by_the_python_of_its_provider(tmp_path: Path) -> None:
    with translator(pythons={"IBM": str(tmp_path / "no" / "python")}) as made:
        failure = compile_job(made, "emit hello")
        assert why(failure) == ("PROVIDER", "SDK_UNAVAILABLE")
        assert str(tmp_path) in failure.message
        assert compile_job(made, "emit hello", "GOOGLE")[0]


def analyze(made: Translator, text: str) -> Any:
    """Analyze a job of one program."""
    task = Task(programs=[TaskProgram(text=text, language=QASM2)])
    return made.analyze(task, inf, lambda _: True)


def test_a_job_is_analyzed_in_a_process_that_translates() -> None:
    with translator() as made:
        assert text_of(ask(made, "emit hello"))
        before = made.processes()
        (features,), failed = analyze(made, "emit hello")
        assert (features.index, features.needs.num_qubits, features.needs.noise, len(failed)) == (0, 5, False, 0)
        assert made.processes()[0] == before[0]
        features, (failed,) = analyze(made, "fail PROGRAM UNKNOWN_GATE no gate foo")
        assert not features
        assert failed.failure.reason == "UNKNOWN_GATE"


def test_an_analysis_has_a_time_limit(tmp_path: Path) -> None:
    with translator(workers=1, analyze_seconds=0.2) as made:
        gate = Gate(tmp_path, "gate")
        os.mkfifo(gate.path.with_suffix(".pid"))
        with ThreadPoolExecutor(1) as callers:
            answer = callers.submit(analyze, made, f"wait {gate.path}")
            gate.path.with_suffix(".pid").read_text()
            failure = answer.result(PATIENCE)
        assert why(failure) == ("LIMIT", "TIME_LIMIT")
        assert failure.message == "it takes longer than 0.2 s to analyze the programs: compare fewer programs at once"


def test_an_analysis_waits_less_than_a_translation_for_a_process(tmp_path: Path) -> None:
    with translator(workers=1, analyze_patience=0.2) as made:
        assert text_of(ask(made, "emit hello"))
        first = Waiting(made, tmp_path)
        first.worker()
        assert why(analyze(made, "emit hello")) == ("LIMIT", "NO_TIME")
        first.gate.open()
        assert text_of(first.result())


def test_the_time_of_the_worker_is_charged(tmp_path: Path) -> None:
    charged: list[float] = []
    with translator(workers=1) as made:
        assert text_of(ask(made, "emit hello"))
        first = Waiting(made, tmp_path)
        first.worker()
        task = Task(programs=[TaskProgram(text="emit hello", language=QASM2)])
        with ThreadPoolExecutor(1) as callers:
            # It waits for the worker: this time is not charged.
            waiting = callers.submit(made.analyze, task, inf, lambda _: True, charged.append)
            first.gate.open()
            waiting.result(PATIENCE)
        first.result()
    (seconds,) = charged
    assert 0 <= seconds < PATIENCE
