# SPDX-License-Identifier: Apache-2.0
"""A runner for executors: tasks in, events out, in any process."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.providers import registry
from qonduit_server.worker.assembly import RunnerOptions, describe_provider, make_runner
from tests.vendor_provider import PREFIX, Vendor

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


SPEC = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=10)


def task(**fields: object) -> Task:
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text=BELL)
    return Task(job_id=1, attempt=1, programs=[program], **fields)  # type: ignore[arg-type]


def test_a_runner_runs_tasks_of_its_provider() -> None:
    run = make_runner(registry.get("IBM"))
    events: list[TaskEvent] = []
    ibm = task(provider="IBM", device="aer_simulator", spec=SPEC)
    assert run([ibm, ibm], events.append) is True
    assert [event.WhichOneof("event") for event in events].count("finished") == 2
    for event in events:
        if event.HasField("program_succeeded"):
            assert set(event.program_succeeded.result.counts_and_probabilities.counts) <= {"0x0", "0x3"}


def test_a_process_whose_log_of_matrix_product_states_is_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_runner(registry.get("IBM"))
    spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=10)
    spec.simulation.method = "matrix_product_state"
    events: list[TaskEvent] = []
    ibm = task(provider="IBM", device="aer_simulator", spec=spec)
    assert run([ibm], events.append) is True
    (succeeded,) = [event.program_succeeded for event in events if event.HasField("program_succeeded")]
    assert succeeded.result.meta_data["approximate"] is False
    monkeypatch.setattr("qonduit_server.providers.aer.aer_execution._LARGEST_LOG", 10)
    assert run([ibm], events.append) is False


def test_a_runner_without_a_provider_translates() -> None:
    events: list[TaskEvent] = []
    make_runner(None)([task(translate_to=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)], events.append)
    (translated,) = [event.program_translated for event in events if event.HasField("program_translated")]
    assert translated.text.startswith("OPENQASM 3")


def test_options_reach_readers(tmp_path: Path) -> None:
    options = RunnerOptions(cache=str(tmp_path / "cache"), cache_bytes=1024**2, read_seconds=1e-9)
    events: list[TaskEvent] = []
    run = make_runner(registry.get("IBM"), options)
    ibm = task(provider="IBM", device="aer_simulator", spec=SPEC)
    assert run([ibm], events.append) is False  # reading was interrupted: replace the process
    (failed,) = [event.program_failed for event in events if event.HasField("program_failed")]
    assert failed.failure.reason == "READ_TIME"


def test_a_description_lists_the_languages_that_are_read_here() -> None:
    languages = describe_provider(registry.get("IBM")).provider.supported_languages
    python = RunnerOptions(python_source={"PYTHON": "python"})
    more = describe_provider(registry.get("IBM"), python).provider.supported_languages
    extra = {each.supported_language for each in more} - {each.supported_language for each in languages}
    assert extra == {AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON}


def test_a_process_ends_after_a_task_with_a_credential_and_its_events_do_not_contain_it() -> None:
    provider = Vendor()
    run = make_runner(provider)
    events: list[TaskEvent] = []
    token = f"{PREFIX}of-a-test"
    assert run([task(provider="VENDOR", device="chatty", spec=SPEC, credential=token)], events.append) is False
    assert [event.WhichOneof("event") for event in events][-1] == "finished"
    assert not events[-1].finished.HasField("failure")
    assert provider.token == token
    assert token not in str(events)
    # Validation compiles without it.
    assert run([task(provider="VENDOR", device="chatty", spec=SPEC, compile_only=True)], events.append) is True
    run([task(provider="VENDOR", device="chatty", spec=SPEC)], events.append)
    assert events[-1].finished.failure.reason == "CREDENTIAL_MISSING"


def test_a_secret_is_removed_before_a_message_is_truncated() -> None:
    events: list[TaskEvent] = []
    token = f"{PREFIX}{'x' * 1990}"
    make_runner(Vendor())([task(provider="VENDOR", device="faulty", spec=SPEC, credential=token)], events.append)
    (failed,) = [event.program_failed for event in events if event.HasField("program_failed")]
    assert "xxxxxxxx" not in failed.failure.message
    assert "xxxxxxxx" not in failed.diagnostic
    assert "ValueError" in failed.diagnostic
