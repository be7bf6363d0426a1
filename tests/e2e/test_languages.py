# SPDX-License-Identifier: Apache-2.0
"""One program in every language, on every provider, through a real server: the same registers, keys and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2, program_service_pb2, result_service_pb2
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from tests import example_programs
from tests.server_process import Server, serving

SHOTS = 4000
DEVICES = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator")
LANGUAGES = sorted(example_programs.programs())


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as made:
        yield made


def request(language: AssemblerLanguage, device: str, **inputs: object) -> job_service_pb2.RunJobRequest:
    message = job_service_pb2.RunJobRequest(job=Job(shots=SHOTS, seed=11), device=device)
    add(message, language, example_programs.programs()[language])
    message.job.inputs.update(inputs)
    return message


def add(message: job_service_pb2.RunJobRequest, language: AssemblerLanguage, source: str | bytes) -> None:
    program = message.deployment.programs.add(assembler_language=language)
    if isinstance(source, bytes):
        program.quantum_circuit_binary = source
    else:
        program.quantum_circuit = source


def run(channel: grpc.Channel, message: job_service_pb2.RunJobRequest) -> Job:
    *_, last = JobServiceStub(channel).RunJob(message, timeout=90)
    return last.event.state_change.job


def results(channel: grpc.Channel, job: Job) -> list[Result]:
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    listed = ResultServiceStub(channel).ListResults(result_service_pb2.ListResultsRequest(job_id=job.id), timeout=100)
    return list(listed.results)


def is_right(result: Result, registers: list[tuple[str, int]]) -> None:
    """Check that counts are within five standard deviations, and on no impossible key."""
    assert [(each.name, each.size) for each in result.registers] == registers
    counts = result.counts_and_probabilities.counts
    assert set(counts) == set(example_programs.EXPECTED)
    for key, probability in example_programs.EXPECTED.items():
        spread = (SHOTS * probability * (1 - probability)) ** 0.5
        assert abs(counts[key] - SHOTS * probability) < 5 * spread


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("language", LANGUAGES, ids=AssemblerLanguage.Name)
def test_the_same_result(channel: grpc.Channel, language: AssemblerLanguage, device: str) -> None:
    (result,) = results(channel, run(channel, request(language, device, theta=example_programs.THETA)))
    is_right(result, example_programs.registers_of(language))


def test_all_languages_in_one_job(channel: grpc.Channel) -> None:
    message = request(LANGUAGES[0], DEVICES[0], theta=example_programs.THETA)
    for language in LANGUAGES[1:]:
        add(message, language, example_programs.programs()[language])
    for language, result in zip(LANGUAGES, results(channel, run(channel, message)), strict=True):
        is_right(result, example_programs.registers_of(language))


def test_inputs_may_come_with_the_program(channel: grpc.Channel) -> None:
    message = request(AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL, DEVICES[0])
    message.deployment.programs[0].python_file_inputs.update({"theta": example_programs.THETA})
    (result,) = results(channel, run(channel, message))
    is_right(result, example_programs.REGISTERS)


PARAMETRISED = [
    each
    for each in LANGUAGES
    if AssemblerLanguage.Name(each).rpartition("_")[2] in ("QASM3", "QISKIT", "BRAKET", "CIRQ", "QUIL")
]


@pytest.mark.parametrize("language", PARAMETRISED, ids=AssemblerLanguage.Name)
def test_a_missing_input_is_named(channel: grpc.Channel, language: AssemblerLanguage) -> None:
    job = run(channel, request(language, DEVICES[0]))
    assert job.state == JobState.JOB_STATE_FAILED
    assert (job.failure.category, job.failure.reason) == (
        FailureCategory.FAILURE_CATEGORY_PROGRAM,
        "MISSING_INPUT",
    )
    assert "theta" in job.failure.message
    assert "job.inputs" in job.failure.message


@pytest.mark.parametrize("language", LANGUAGES, ids=AssemblerLanguage.Name)
def test_translations_to_every_language_keep_the_meaning(channel: grpc.Channel, language: AssemblerLanguage) -> None:
    """Translate and run the results: together on one device, since there are many."""
    service = ProgramServiceStub(channel)
    known = service.ListLanguages(program_service_pb2.ListLanguagesRequest(), timeout=100).languages
    targets = [each.language for each in known if each.writable]
    assert len(targets) >= 7
    message = job_service_pb2.RunJobRequest(job=Job(shots=SHOTS, seed=11), device=DEVICES[0])
    wanted = []
    for target in targets:
        ask = program_service_pb2.TranslateProgramRequest(target_language=target)
        ask.program.assembler_language = language
        source = example_programs.programs()[language]
        if isinstance(source, bytes):
            ask.program.quantum_circuit_binary = source
        else:
            ask.program.quantum_circuit = source
        ask.inputs.update({"theta": example_programs.THETA})
        try:
            translated = service.TranslateProgram(ask, timeout=60)
        except grpc.RpcError as error:
            # Some languages cannot express a branch on a measurement.
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise
            continue
        message.deployment.programs.append(translated.program)
        wanted.append(target)
    assert len(wanted) >= 5
    for target, result in zip(wanted, results(channel, run(channel, message)), strict=True):
        renamed = target == AssemblerLanguage.ASSEMBLER_LANGUAGE_IONQ
        is_right(result, [("meas", 2)] if renamed else example_programs.registers_of(language))


def test_the_next_server_does_not_read_a_slow_program_again(tmp_path: Path) -> None:
    """A long program in OpenQASM 3 is slow to parse with ANTLR; the next server's worker has it from the cache."""
    loop = "for int i in [0:199] { rx(theta * i) q[0]; cz q[0], q[1]; }\n"
    text = example_programs.QASM3.replace("c[0] =", loop * 5 + "c[0] =")
    message = job_service_pb2.RunJobRequest(job=Job(shots=10), device=DEVICES[0])
    add(message, AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text)
    message.job.inputs.update({"theta": 0.01})
    kept = []
    for number in range(2):
        settings = {"providers": "IBM", "translation_cache": str(tmp_path / "cache")}
        with (
            serving(f"sqlite:///{tmp_path}/{number}.sqlite3", **settings) as server,
            grpc.insecure_channel(server.target) as made,
        ):
            results(made, run(made, message))
        (file,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
        kept.append(file.stat())
    # Reading a program writes a new file; a cache hit marks the existing file as used.
    assert kept[1].st_ino == kept[0].st_ino
    assert kept[1].st_mtime_ns > kept[0].st_mtime_ns
