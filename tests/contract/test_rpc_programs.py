# SPDX-License-Identifier: Apache-2.0
"""ProgramService over gRPC: status codes by cause, waiting calls, and other calls that are not delayed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.error_reason_pb2 import ErrorReason
from qonduit.v1.program_service_pb2 import (
    Language,
    ListLanguagesRequest,
    ListLanguagesResponse,
    TranslateProgramRequest,
    TranslateProgramResponse,
    Translation,
)
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit_server.execution.local.interactive_pools import InteractivePools
from qonduit_server.execution.local.translator import Translator
from qonduit_server.rpc import program_service
from qonduit_server.rpc.server_limits import Limits
from tests.contract.rpc_fixture import WAIT, RpcFixture, refused, rpc_fixture
from tests.unit.execution.pool_fixture import PATIENCE, environment, wait_gone
from tests.unit.execution.test_translator import PROGRAM

QASM2, QASM3, QISKIT, CIRQ, QUIL = (
    AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{name}") for name in ("QASM2", "QASM3", "QISKIT", "CIRQ", "QUIL")
)
LANGUAGES = ListLanguagesResponse(
    languages=[
        Language(language=QASM2, title="OpenQASM 2.0", readable=True, writable=True),
        Language(language=QASM3, title="OpenQASM 3", readable=True, writable=False),
        Language(language=QISKIT, title="Qiskit", binary=True, readable=True, writable=True),
        Language(language=CIRQ, title="Cirq", readable=False, writable=True),
    ],
    translations=[Translation(name="qasm2_to_hub", from_language=QASM2, cost_milliseconds=0.5)],
)
LIMITS = Limits(max_program_bytes=2_000)


class Programs:
    """A gRPC server whose fake translator follows the instructions in programs, and its stub."""

    def __init__(self, rpc: RpcFixture, translator: Translator) -> None:
        self.rpc = rpc
        self.translator = translator
        self.stub = ProgramServiceStub(rpc.channel)

    def translate(self, text: str = "emit hello", timeout: float = WAIT, **fields: Any) -> TranslateProgramResponse:
        return self.stub.TranslateProgram(request(text, **fields), timeout=timeout)

    def refused(self, text: str = "emit hello", **fields: Any) -> tuple[str, str, dict[str, Any]]:
        """Return code, reason and details of a translation that must be refused."""
        code, details = refused(lambda: self.translate(text, **fields))
        assert details["ErrorInfo"].reason in {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118
        return code, details["ErrorInfo"].reason, details


def request(text: str = "emit hello", **fields: Any) -> TranslateProgramRequest:
    """Return a request with a program for Cirq, with changes to it (`program`) and to the request."""
    program = {"quantum_circuit": text, "assembler_language": QASM2} | fields.pop("program", {})
    return TranslateProgramRequest(**{"program": QuantumProgram(**program), "target_language": CIRQ} | fields)


@contextmanager
def opened(folder: Path, limits: Limits = LIMITS, workers: int = 2, **options: Any) -> Iterator[Programs]:
    pools = InteractivePools(workers, program=PROGRAM, environment=environment(), show_errors=True)
    translator = Translator(pools, **options)
    with rpc_fixture(folder, limits=limits, languages=LANGUAGES, translate=translator.translate) as rpc:
        try:
            yield Programs(rpc, translator)
        finally:
            translator.stop(PATIENCE)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with opened(tmp_path_factory.mktemp("programs")) as it:
        yield it


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


class Waiting:
    """Calls whose programs wait in workers until they are released."""

    def __init__(self, programs: Programs, folder: Path, calls: int = 1, timeout: float = WAIT) -> None:
        self._path = folder / "gate"
        self._workers = self._path.with_suffix(".pid")
        os.mkfifo(self._path)
        os.mkfifo(self._workers)
        self.calls = [
            programs.stub.TranslateProgram.future(request(f"wait {self._path}"), timeout=timeout) for _ in range(calls)
        ]

    def worker(self) -> int:
        """Return the process that runs one of them."""
        return int(self._workers.read_text())

    def open(self) -> None:
        """Release one of them."""
        self._path.open("wb").close()


def test_languages_are_described_without_a_process(tmp_path: Path) -> None:
    with opened(tmp_path) as programs:
        assert programs.stub.ListLanguages(ListLanguagesRequest(), timeout=WAIT) == LANGUAGES
        assert programs.refused(target_language=QUIL)[0] == "INVALID_ARGUMENT"
        assert programs.translator.processes() == []


def test_a_translation(programs: Programs) -> None:
    answer = programs.translate("emit hello", inputs=struct(theta=0.5))
    assert answer.program == QuantumProgram(quantum_circuit="hello in 5 with {'theta': 0.5}", assembler_language=CIRQ)
    assert list(answer.warnings) == ["it was bent a little"]
    assert [(each.name, each.size) for each in answer.registers] == [("b", 2), ("a", 1)]
    assert (answer.read_seconds, answer.write_seconds) == (0.25, 0.5)


def test_inputs_of_the_request_take_precedence_over_those_of_the_program(programs: Programs) -> None:
    own = {"python_file_inputs": struct(theta=1)}
    assert "{'theta': 2.0}" in programs.translate(inputs=struct(theta=2), program=own).program.quantum_circuit
    assert "{'theta': 1.0}" in programs.translate(program=own).program.quantum_circuit


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"target_language": 0}, "target_language"),
        ({"target_language": 99}, "target_language"),
        ({"target_language": QUIL}, "target_language"),
        ({"target_language": QASM3}, "target_language"),
        ({"program": {"assembler_language": 0}}, "program.assembler_language"),
        ({"program": {"assembler_language": 99}}, "program.assembler_language"),
        ({"program": {"quantum_circuit": ""}}, "program.quantum_circuit"),
        ({"program": {"quantum_circuit": " \n"}}, "program.quantum_circuit"),
        ({"program": {"quantum_circuit": "é" * 1_001}}, "program.quantum_circuit"),
        ({"program": {"quantum_circuit_binary": b"QISKIT"}}, "program.quantum_circuit_binary"),
        ({"program": {"quantum_circuit": "", "assembler_language": QISKIT}}, "program.quantum_circuit_binary"),
        ({"inputs": struct(theta=float("nan"))}, "inputs.theta"),
        ({"inputs": struct(theta="1" * 70_000)}, "inputs"),
        ({"program": {"python_file_inputs": struct(theta=float("inf"))}}, "program.python_file_inputs.theta"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_and_names_the_field(
    programs: Programs, fields: dict[str, Any], field: str
) -> None:
    code, reason, details = programs.refused(**fields)
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    violations = details["BadRequest"].field_violations
    assert field in [violation.field for violation in violations], violations
    assert all(violation.reason and violation.description for violation in violations)


def test_a_request_without_a_program_is_refused(programs: Programs) -> None:
    code, details = refused(lambda: programs.stub.TranslateProgram(TranslateProgramRequest(target_language=CIRQ)))
    assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "program")


def test_an_unknown_language_error_lists_the_known_ones(programs: Programs) -> None:
    assert "QASM2, QISKIT, CIRQ" in str(programs.refused(target_language=QUIL)[2])


@pytest.mark.parametrize(
    ("failure", "code", "reason", "field", "rule"),
    [
        ("PROGRAM SYNTAX_ERROR x", "INVALID_ARGUMENT", "INVALID_PROGRAM", "program.quantum_circuit", "syntax_error"),
        ("PROGRAM TOO_LARGE x", "INVALID_ARGUMENT", "INVALID_PROGRAM", "program.quantum_circuit", "too_large"),
        ("LIMIT TOO_LARGE x", "INVALID_ARGUMENT", "INVALID_PROGRAM", "program.quantum_circuit", "too_large"),
        (
            "PROGRAM UNSUPPORTED_LANGUAGE x",
            "INVALID_ARGUMENT",
            "INVALID_PROGRAM",
            "program.assembler_language",
            "unsupported_language",
        ),
        ("PROGRAM MISSING_INPUT x", "INVALID_ARGUMENT", "INVALID_PROGRAM", "inputs", "missing_input"),
    ],
)
def test_a_program_at_fault(programs: Programs, failure: str, code: str, reason: str, field: str, rule: str) -> None:
    got_code, got_reason, details = programs.refused(f"fail {failure}")
    assert (got_code, got_reason) == (code, reason)
    (violation,) = details["BadRequest"].field_violations
    assert (violation.field, violation.reason) == (field, f"program.{rule}")
    assert violation.description == f"{field}: line 3, column 5: x"


def test_a_binary_program_at_fault_is_named_as_such(programs: Programs) -> None:
    text = b"fail PROGRAM SYNTAX_ERROR x"
    binary = {"quantum_circuit": "", "quantum_circuit_binary": text, "assembler_language": QISKIT}
    _, reason, details = programs.refused(program=binary)
    assert reason == "INVALID_PROGRAM"
    assert details["BadRequest"].field_violations[0].field == "program.quantum_circuit_binary"


def test_a_program_that_the_target_language_cannot_express(programs: Programs) -> None:
    code, reason, details = programs.refused("fail PROGRAM UNSUPPORTED_BY_LANGUAGE a loop that depends on a bit")
    assert (code, reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_LANGUAGE")
    (violation,) = details["PreconditionFailure"].violations
    assert (violation.type, violation.subject) == ("LANGUAGE", "target_language")
    assert violation.description == "the program cannot be written in CIRQ: a loop that depends on a bit"


@pytest.mark.parametrize("failure", ["LIMIT MEMORY_LIMIT x", "LIMIT TIME_LIMIT x", "WORKER WORKER_DIED x"])
def test_a_limit(programs: Programs, failure: str) -> None:
    code, reason, details = programs.refused(f"fail {failure}")
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    assert details["QuotaFailure"].violations
    assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def test_a_server_without_the_required_sdk(programs: Programs) -> None:
    code, _, details = programs.refused("fail PROVIDER SDK_UNAVAILABLE install qonduit-quantum[worker]")
    assert code == "FAILED_PRECONDITION"
    assert "install qonduit-quantum[worker]" in details["PreconditionFailure"].violations[0].description


def test_a_fault_of_the_server_is_hidden(programs: Programs) -> None:
    code, reason, details = programs.refused("fail INTERNAL INTERNAL KeyError: secret")
    assert (code, reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(details)


def test_a_translation_that_is_too_large(programs: Programs) -> None:
    limit = Limits().max_response_bytes
    assert len(programs.translate(f"grow {limit - 1000}").program.quantum_circuit) == limit - 1000
    code, reason, details = programs.refused(f"grow {limit}")
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    (violation,) = details["QuotaFailure"].violations
    assert violation.subject == "max_response_bytes"
    assert f"{limit}" in violation.description
    assert "RetryInfo" not in details  # a retry would not help


def test_a_program_that_kills_its_workers_is_reported_and_the_next_call_works(
    programs: Programs, tmp_path: Path
) -> None:
    waiting = Waiting(programs, tmp_path)
    for _ in range(2):
        os.kill(waiting.worker(), signal.SIGKILL)
    code, details = refused(waiting.calls[0].result)
    assert code == "RESOURCE_EXHAUSTED"
    assert "SIGKILL" in details["QuotaFailure"].violations[0].description
    assert programs.translate("emit on").program.quantum_circuit.startswith("on")


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_cancelled_call_frees_its_worker(programs: Programs, tmp_path: Path, how: str) -> None:
    waiting = Waiting(programs, tmp_path, timeout=WAIT if how == "cancel" else 1.0)
    worker = waiting.worker()
    if how == "cancel":
        waiting.calls[0].cancel()
    else:
        with pytest.raises(grpc.RpcError) as caught:
            waiting.calls[0].result()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_gone([worker])
    assert programs.translate("emit on").program.quantum_circuit.startswith("on")


def test_sixty_four_calls_at_once(programs: Programs) -> None:
    with ThreadPoolExecutor(64) as callers:
        answers = list(callers.map(lambda number: programs.translate(f"emit {number}"), range(64)))
    assert [each.program.quantum_circuit.split()[0] for each in answers] == [str(number) for number in range(64)]


def test_too_many_are_refused_and_other_calls_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_service, "_MAX_UNDER_WAY", 40)
    with opened(tmp_path) as programs:
        ended: Queue[grpc.Future[TranslateProgramResponse]] = Queue()
        waiting = Waiting(programs, tmp_path, calls=48)
        for call in waiting.calls:
            call.add_done_callback(ended.put)
        for _ in range(8):
            code, details = refused(ended.get(timeout=WAIT).result)
            assert (code, details["ErrorInfo"].reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
            assert "translations reached (40)" in details["QuotaFailure"].violations[0].description
            assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        assert programs.rpc.system.GetServerInfo(GetServerInfoRequest(), timeout=WAIT)
        assert programs.stub.ListLanguages(ListLanguagesRequest(), timeout=WAIT)


def test_while_draining_new_calls_are_refused_and_waiting_calls_are_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as programs:
        waiting = Waiting(programs, tmp_path)
        waiting.worker()
        programs.rpc.server.drain()
        code, reason, details = programs.refused()
        assert (code, reason) == ("UNAVAILABLE", "DRAINING")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        programs.translator.stop(PATIENCE)
        code, details = refused(waiting.calls[0].result)
        assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "DRAINING")
