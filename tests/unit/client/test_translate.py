# SPDX-License-Identifier: Apache-2.0
"""Translations and inputs, from the client and the command line: requests, output, files and errors."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2 as details

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.program_service_pb2 import Language, ListLanguagesResponse, TranslateProgramResponse, Translation
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Register
from qonduit_client.cli.commands import qonduit
from qonduit_client.client import Client
from qonduit_client.errors import ProgramUnreadable, ServerUnavailable
from tests.unit.client.peer import AWAY, BELL, Peer, Refusal

Code = grpc.StatusCode
QASM2, QISKIT, CIRQ = (AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{name}") for name in ("QASM2", "QISKIT", "CIRQ"))


@pytest.fixture
def text(peer: Peer) -> Peer:
    """Return a peer that answers with text."""
    peer.translation = TranslateProgramResponse(
        program=QuantumProgram(quantum_circuit='{"cirq_type": "Circuit"}', assembler_language=CIRQ),
        warnings=["a barrier was left out"],
        registers=[Register(name="b", size=1), Register(name="a", size=2)],
    )
    return peer


@pytest.fixture
def binary(peer: Peer) -> Peer:
    """Return a peer that answers with bytes."""
    peer.translation = TranslateProgramResponse(
        program=QuantumProgram(quantum_circuit_binary=b"QISKIT\x0d\x00\xff", assembler_language=QISKIT)
    )
    return peer


def call(peer: Peer, *arguments: str, text: str | None = None) -> Result:
    """Run `qonduit` against the peer."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, *arguments], input=text)


def refusal(code: grpc.StatusCode, reason: str, field: str, rule: str, message: str) -> Refusal:
    """Return a refusal as the server sends it."""
    bad = details.BadRequest()
    bad.field_violations.add(field=field, reason=rule, description=message)
    return Refusal(code, message, reason, further=[bad])


def test_a_translation(text: Peer, client: Client) -> None:
    found = client.translate(BELL, to="cirq", inputs={"theta": 0.5})
    assert (found.source, found.language, found.binary) == ('{"cirq_type": "Circuit"}', "CIRQ", False)
    assert found.warnings == ["a barrier was left out"]
    assert found.registers == [("b", 1), ("a", 2)]
    (sent,) = text.translated
    assert (sent.program.quantum_circuit, sent.program.assembler_language) == (BELL, QASM2)
    assert sent.target_language == CIRQ
    assert MessageToDict(sent.inputs) == {"theta": 0.5}
    assert repr(found) == "<Translation to CIRQ, 24 characters>"


def test_a_binary_translation(binary: Peer, client: Client) -> None:
    found = client.translate(b"QISKIT\x01", to="QISKIT")
    assert (found.source, found.language, found.binary) == (b"QISKIT\x0d\x00\xff", "QISKIT", True)
    assert binary.translated[0].program.quantum_circuit_binary == b"QISKIT\x01"


def test_a_translation_is_retried_when_the_server_was_unreachable(text: Peer, client: Client) -> None:
    text.refusals.append(AWAY)
    assert client.translate(BELL, to="CIRQ").language == "CIRQ"
    assert len(text.translated) == 2


def test_an_unknown_language(client: Client) -> None:
    with pytest.raises(ProgramUnreadable, match="QASM2, QASM3"):
        client.translate(BELL, to="COBOL")


def test_inputs_go_with_the_job(peer: Peer, client: Client) -> None:
    client.run(BELL, inputs={"theta": 1, "flags": "0110", "on": True, "angles": (0.5, 2)})
    client.check(BELL, inputs={"theta": 2})
    client.run(BELL)
    first, second, third = peer.created
    assert MessageToDict(first.job.inputs) == {"theta": 1.0, "flags": "0110", "on": True, "angles": [0.5, 2.0]}
    assert MessageToDict(second.job.inputs) == {"theta": 2.0}
    assert not third.job.HasField("inputs")


@pytest.mark.parametrize("value", [None, {"a": 1}, 1j, 2**53 + 1, -(2**60), [object()]])
def test_inputs_that_cannot_be_sent(client: Client, value: object) -> None:
    with pytest.raises(ValueError, match="theta"):
        client.run(BELL, inputs={"theta": value})


def test_the_command_line_writes_the_translation(text: Peer, tmp_path: Path) -> None:
    file = tmp_path / "bell.qasm"
    file.write_text(BELL)
    for arguments, typed in (((str(file),), None), (("-",), BELL)):
        done = call(text, "translate", *arguments, "--to", "CIRQ", text=typed)
        assert done.exit_code == 0, done.output
        assert done.stdout == '{"cirq_type": "Circuit"}\n'
        assert done.stderr == "warning: a barrier was left out\n"
    assert [sent.program.quantum_circuit for sent in text.translated] == [BELL, BELL]


def test_the_command_line_names_languages_and_inputs(text: Peer) -> None:
    options = ("--from", "QASM3", "--to", "CIRQ", "--input", "theta=0.7", "--input", "name=word", "--input", 'b="10"')
    assert call(text, "translate", "-", *options, text="h q;").exit_code == 0
    assert text.translated[0].program.assembler_language == AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
    assert MessageToDict(text.translated[0].inputs) == {"theta": 0.7, "name": "word", "b": "10"}


@pytest.mark.parametrize("given", ["theta", "=1", "theta=null", 'theta={"a": 1}', "theta=99999999999999999999"])
@pytest.mark.parametrize("command", [["translate", "-", "--to", "CIRQ"], ["run", "-"]])
def test_invalid_inputs(peer: Peer, command: list[str], given: str) -> None:
    done = call(peer, *command, "--input", given, text=BELL)
    assert (done.exit_code, peer.created, peer.translated) == (2, [], [])
    assert "Traceback" not in done.output
    assert "twice" in call(peer, *command, "--input", "a=1", "--input", "a=2", text=BELL).stderr


def test_run_takes_inputs(peer: Peer) -> None:
    assert call(peer, "run", "-", "--input", "theta=0.7", text=BELL).exit_code == 0
    assert call(peer, "run", "-", "--input", "theta=0.7", "--validate-only", text=BELL).exit_code == 0
    assert [MessageToDict(each.job.inputs) for each in peer.created] == [{"theta": 0.7}] * 2


def test_bytes_go_to_a_file_or_a_pipe(binary: Peer, tmp_path: Path) -> None:
    done = call(binary, "translate", "-", "--to", "QISKIT", text=BELL)
    assert (done.exit_code, done.stdout_bytes) == (0, b"QISKIT\x0d\x00\xff")
    file = tmp_path / "bell.qpy"
    done = call(binary, "translate", "-", "--to", "QISKIT", "--output", str(file), text=BELL)
    assert (done.exit_code, done.stdout) == (0, "")
    assert file.read_bytes() == b"QISKIT\x0d\x00\xff"
    done = call(binary, "translate", "-", "--to", "QISKIT", "--output", str(tmp_path / "no" / "file"), text=BELL)
    assert done.exit_code == 2
    assert "no/file" in done.stderr


def test_bytes_never_go_to_a_terminal(binary: Peer, tmp_path: Path) -> None:
    file = tmp_path / "bell.qasm"
    file.write_text(BELL)
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", binary.target]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*command, "translate", str(file), "--to", "QISKIT"], stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    written = b""
    with suppress(OSError):  # EIO: the other side was closed
        while chunk := os.read(master, 65536):
            written += chunk
    os.close(master)
    assert process.wait(100) == 2
    assert b"--output FILE" in written
    assert b"QISKIT\x0d" not in written


def test_the_translation_as_json(text: Peer) -> None:
    done = call(text, "translate", "-", "--to", "CIRQ", "--json", text=BELL)
    printed = json.loads(done.stdout)
    assert printed["program"]["quantum_circuit"] == '{"cirq_type": "Circuit"}'
    assert printed["warnings"] == ["a barrier was left out"]


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            refusal(
                Code.INVALID_ARGUMENT,
                "INVALID_PROGRAM",
                "program.quantum_circuit",
                "program.syntax_error",
                "program.quantum_circuit: line 4, column 1: no gate foo",
            ),
            "Error: standard input: line 4, column 1: no gate foo\n",
        ),
        (
            refusal(
                Code.INVALID_ARGUMENT,
                "INVALID_PROGRAM",
                "inputs",
                "program.missing_input",
                "inputs: the program needs a value for 'theta': give it in inputs",
            ),
            "--input NAME=VALUE",
        ),
        (
            refusal(
                Code.INVALID_ARGUMENT,
                "INVALID_PROGRAM",
                "program.quantum_circuit",
                "program.wrong_language",
                "program.quantum_circuit: it looks like Quil",
            ),
            "--from LANGUAGE",
        ),
        (
            refusal(
                Code.FAILED_PRECONDITION,
                "UNSUPPORTED_BY_LANGUAGE",
                "target_language",
                "LANGUAGE",
                "the program cannot be written in IONQ: a loop",
            ),
            "`qonduit languages` lists",
        ),
    ],
)
def test_refusals_show_the_next_step(peer: Peer, refused: Refusal, said: str) -> None:
    peer.refusals.append(refused)
    done = call(peer, "translate", "-", "--to", "CIRQ", text=BELL)
    assert done.exit_code == 4
    assert said in done.stderr
    assert done.stdout == ""
    assert "program.quantum_circuit" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["translate"], ["translate", "-"], ["translate", "no/such/file.qasm", "--to", "CIRQ"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = CliRunner().invoke(qonduit, arguments, input="")
    assert done.exit_code == 2, done.output


def test_an_unrecognized_language_shows_the_next_step() -> None:
    done = CliRunner().invoke(qonduit, ["translate", "-", "--to", "CIRQ"], input="h q;")
    assert done.exit_code == 4
    assert "--language" in done.stderr


def test_languages(peer: Peer, client: Client) -> None:
    peer.languages = ListLanguagesResponse(
        languages=[
            Language(language=QASM2, title="OpenQASM 2.0", readable=True, writable=True),
            Language(language=QISKIT, title="Qiskit", binary=True, writable=True, python_source=True),
        ],
        translations=[
            Translation(name="qasm2_to_hub", from_language=QASM2, cost_milliseconds=0.52),
            Translation(name="hub_to_qasm2", to_language=QASM2),
        ],
    )
    assert client.languages() == peer.languages
    assert call(peer, "languages").stdout.splitlines() == [
        "LANGUAGE  FORM     READ  WRITE  PYTHON SOURCE  TITLE",
        "QASM2     text   0.5 ms    yes  no             OpenQASM 2.0",
        "QISKIT    bytes      no    yes  yes            Qiskit",
    ]
    first, second = map(json.loads, call(peer, "languages", "--json").stdout.splitlines())
    assert (first["language"], first["read_milliseconds"]) == ("ASSEMBLER_LANGUAGE_QASM2", 0.52)
    assert (second["python_source"], second["read_milliseconds"]) == (True, None)


def test_unreachable_server() -> None:
    done = CliRunner().invoke(qonduit, ["--server", "127.0.0.1:1", "translate", "-", "--to", "CIRQ"], input=BELL)
    assert done.exit_code == 5
    with Client("127.0.0.1:1", connect_timeout=0.1) as client, pytest.raises(ServerUnavailable):
        client.languages()
