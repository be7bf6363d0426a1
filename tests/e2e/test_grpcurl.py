# SPDX-License-Identifier: Apache-2.0
"""Every call works with grpcurl, a client that learns the API from reflection, on one line a call."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.missing_components import lacking
from tests.server_process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
BUF = str(Path(sys.executable).parent / "buf")
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
PAGE = ROOT / "docs" / "grpcurl.md"
PROTOS = ROOT / "protos"
MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """Return the grpcurl on PATH, or the one that Go has built or can build."""
    found = shutil.which("grpcurl")
    go = shutil.which("go")
    if found is None and go is not None:
        root = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        built = Path(root) / "bin" / "grpcurl"
        if not built.exists():
            subprocess.run([go, "install", MODULE], capture_output=True, timeout=300, check=False)
        found = str(built) if built.exists() else None
    if found is None:
        lacking("reflection and one-line calls (it is not on PATH, nor can Go build it)", "grpcurl")
    return found


class Caller:
    """Runs grpcurl against a server."""

    def __init__(self, program: str, target: str) -> None:
        self._program = program
        self._target = target

    def run(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run it with these arguments after the address."""
        command = [
            self._program,
            "-plaintext",
            "-connect-timeout",
            "100",
            "-max-time",
            "100",
            *options,
            self._target,
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def text(self, *words: str) -> str:
        """Return its output; the command must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, **request: Any) -> list[dict[str, Any]]:
        """Call a method; return every response message."""
        done = self.run(method, options=("-d", json.dumps(request)))
        assert done.returncode == 0, done.stderr
        return _messages(done.stdout)

    def refused(self, method: str, **request: Any) -> dict[str, Any]:
        """Call a method that must refuse; return the status with its details."""
        done = self.run(method, options=("-d", json.dumps(request), "-format-error"))
        assert done.returncode != 0
        status: dict[str, Any] = _messages(done.stderr)[0]
        return status


def _messages(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    found = []
    while text := text.lstrip():
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


@pytest.fixture(scope="module")
def caller(grpcurl: str, server: Server) -> Caller:
    return Caller(grpcurl, server.target)


def job(**fields: Any) -> dict[str, Any]:
    """The Bell job of the contract, on one line."""
    return {
        "job": {"type": "JOB_TYPE_RUNNER", "shots": 1000},
        "device": "IBM/aer_simulator",
        "deployment": {"programs": [{"quantumCircuit": BELL, "assemblerLanguage": "ASSEMBLER_LANGUAGE_QASM2"}]},
    } | fields


def methods() -> list[str]:
    """Return every method that a client can call, as "package.Service/Method"."""
    modules = [path.relative_to(PROTOS).with_suffix("") for path in PROTOS.glob("qonduit/v1/*_service.proto")]
    files = [import_module(".".join(module.parts) + "_pb2").DESCRIPTOR for module in modules]
    files += [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    return [
        f"{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]


@pytest.mark.parametrize("method", [each for each in methods() if each != "grpc.health.v1.Health/List"])
def test_the_cookbook_has_a_recipe_for_every_call(method: str) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert any(re.search(rf"grpcurl [^|;]*\b{re.escape(method)}\b", block) for block in blocks), (
        f"{PAGE.name} has no recipe for {method}: add a block that calls it"
    )


def test_the_cookbook_calls_no_unknown_method() -> None:
    called = set(re.findall(r"\b((?:qonduit|grpc)(?:\.\w+)+/\w+)", PAGE.read_text()))
    assert called - set(methods()) == {"grpc.reflection.v1.ServerReflection/ServerReflectionInfo"}


def test_every_service_is_listed(caller: Caller) -> None:
    listed = caller.text("list").split()
    for name in ("Provider", "Device", "Deployment", "Job", "Result", "Program", "System"):
        assert f"qonduit.v1.{name}Service" in listed
    assert "grpc.health.v1.Health" in listed
    assert "grpc.reflection.v1.ServerReflection" in listed
    assert "grpc.reflection.v1alpha.ServerReflection" in listed
    assert "qonduit.v1.JobService.RunJob" in caller.text("list", "qonduit.v1.JobService").split()


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        (
            "qonduit.v1.JobService",
            "rpc RunJob ( .qonduit.v1.RunJobRequest ) returns ( stream .qonduit.v1.RunJobResponse",
        ),
        ("qonduit.v1.JobService.RunJob", "rpc RunJob"),
        ("qonduit.v1.Job", "optional double progress = 4"),
        ("qonduit.v1.Job.shots", "int64 shots = 6"),
        ("qonduit.v1.JobState", "JOB_STATE_QUEUED = 1"),
        ("qonduit.v1.ProgramService.TranslateProgram", "rpc TranslateProgram"),
        ("qonduit.v1.TranslateProgramRequest", ".google.protobuf.Struct inputs = 3"),
        ("grpc.reflection.v1.ServerReflection", "rpc ServerReflectionInfo"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", ".grpc.reflection.v1.ServerReflectionRequest"),
        ("grpc.reflection.v1alpha.ServerReflection", "rpc ServerReflectionInfo"),
        ("grpc.health.v1.Health.Check", "rpc Check"),
    ],
)
def test_every_symbol_is_described(caller: Caller, symbol: str, expected: str) -> None:
    assert expected in caller.text("describe", symbol)


def test_a_bell_job_on_one_line(caller: Caller) -> None:
    events = [response["event"] for response in caller.call("qonduit.v1.JobService/RunJob", **job())]
    assert [int(event.get("sequence", 0)) for event in events if "heartbeat" not in event] == list(
        range(1, len(events) + 1)
    )
    assert "created" in events[0]
    done = events[-1]["stateChange"]["job"]
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    assert done["progress"] == 1

    again = caller.call("qonduit.v1.JobService/WatchJob", job_id=done["id"], after_sequence=2)
    assert [response["event"] for response in again] == events[2:]
    results = caller.call("qonduit.v1.ResultService/ListResults", job_id=done["id"])[0]["results"]
    counts = {key: int(value) for key, value in results[0]["countsAndProbabilities"]["counts"].items()}
    assert set(counts) == {"0x0", "0x3"}
    assert sum(counts.values()) == 1000
    info = caller.call("qonduit.v1.SystemService/GetServerInfo")[0]
    assert info["version"]


def test_a_program_that_does_not_parse_is_a_failed_job_and_no_error(caller: Caller) -> None:
    broken = {"programs": [{"quantumCircuit": "OPENQASM 2.0; qreg q[;", "assemblerLanguage": 1}]}
    events = [response["event"] for response in caller.call("qonduit.v1.JobService/RunJob", **job(deployment=broken))]
    done = events[-1]["stateChange"]["job"]
    assert done["state"] == "JOB_STATE_FAILED"
    assert done["failure"]["category"] == "FAILURE_CATEGORY_PROGRAM"
    assert done["failure"]["reason"] == "SYNTAX_ERROR"


def test_a_translation_on_one_line(caller: Caller) -> None:
    bell = {"quantumCircuit": BELL, "assemblerLanguage": "ASSEMBLER_LANGUAGE_QASM2"}
    response = caller.call(
        "qonduit.v1.ProgramService/TranslateProgram", program=bell, target_language="ASSEMBLER_LANGUAGE_QASM3"
    )[0]
    assert response["program"]["quantumCircuit"].startswith("OPENQASM 3")
    assert response["program"]["assemblerLanguage"] == "ASSEMBLER_LANGUAGE_QASM3"
    assert response["registers"] == [{"name": "c", "size": 2}]

    turn = "OPENQASM 3.0; input float theta; qubit q; bit c; U(theta, 0, 0) q; c = measure q;"
    response = caller.call(
        "qonduit.v1.ProgramService/TranslateProgram",
        program={"quantumCircuit": turn, "assemblerLanguage": "ASSEMBLER_LANGUAGE_QASM3"},
        target_language="ASSEMBLER_LANGUAGE_QASM2",
        inputs={"theta": 0.7},
    )[0]
    assert "0.7" in response["program"]["quantumCircuit"]


def test_languages_on_one_line(caller: Caller) -> None:
    response = caller.call("qonduit.v1.ProgramService/ListLanguages")[0]
    languages = {each["language"]: each for each in response["languages"]}
    assert languages["ASSEMBLER_LANGUAGE_QASM2"]["readable"] is True
    assert languages["ASSEMBLER_LANGUAGE_QASM2"]["pythonSource"] is False
    assert "qasm2_to_hub" in [each["name"] for each in response["translations"]]


def test_errors_contain_their_details(caller: Caller) -> None:
    def details(status: dict[str, Any], kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in status["details"] if one["@type"].endswith(f"google.rpc.{kind}"))
        return found

    unknown = caller.refused("qonduit.v1.JobService/RunJob", **job(device="IBM/no_such_device"))
    assert unknown["code"] == 5
    assert details(unknown, "ErrorInfo")["reason"] == "NOT_FOUND"
    assert details(unknown, "ErrorInfo")["domain"] == "qonduit"
    assert details(unknown, "ResourceInfo")["resourceName"] == "IBM/no_such_device"

    shots = caller.refused("qonduit.v1.JobService/RunJob", **job(job={"shots": 0}))
    assert shots["code"] == 3
    violation = details(shots, "BadRequest")["fieldViolations"][0]
    assert violation["field"] == "job.shots"
    assert violation["reason"] == "job.shots.range"

    broken = {"quantumCircuit": "OPENQASM 2.0;\nqreg q[1];\nnonsense q[0];", "assemblerLanguage": 1}
    program = caller.refused("qonduit.v1.ProgramService/TranslateProgram", program=broken, target_language=2)
    assert program["code"] == 3
    assert details(program, "ErrorInfo")["reason"] == "INVALID_PROGRAM"
    violation = details(program, "BadRequest")["fieldViolations"][0]
    assert violation["field"] == "program.quantum_circuit"
    assert "line 3" in violation["description"]


def test_health(caller: Caller) -> None:
    assert caller.call("grpc.health.v1.Health/Check", service="qonduit.v1.JobService") == [{"status": "SERVING"}]
    done = caller.run("grpc.health.v1.Health/Watch", options=("-d", "{}", "-max-time", "1"))
    assert _messages(done.stdout)[0] == {"status": "SERVING"}


def test_without_reflection_the_client_uses_the_descriptor_file(grpcurl: str, tmp_path: Path) -> None:
    made = subprocess.run(["make", "descriptor"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr
    contract = str(ROOT / "build" / "qonduit.binpb")
    with serving(f"sqlite:///{tmp_path}/qonduit.db", providers="IBM", reflection="off") as server:
        caller = Caller(grpcurl, server.target)
        assert "server does not support the reflection API" in caller.run("list").stderr

        listed = subprocess.run([grpcurl, "-protoset", contract, "list"], capture_output=True, text=True, check=True)
        assert "qonduit.v1.JobService" in listed.stdout.split()
        assert "qonduit.execution" not in listed.stdout
        bell = ("-protoset", contract, "-d", json.dumps(job()))
        events = _messages(caller.run("qonduit.v1.JobService/RunJob", options=bell).stdout)
        assert events[-1]["event"]["stateChange"]["toState"] == "JOB_STATE_SUCCEEDED"

        unknown = ("-protoset", contract, "-format-error", "-d", json.dumps(job(device="IBM/no_such_device")))
        status = _messages(caller.run("qonduit.v1.JobService/RunJob", options=unknown).stderr)[0]
        assert "NOT_FOUND" in [detail.get("reason") for detail in status["details"]]

        method = f"http://{server.target}/qonduit.v1.SystemService/GetServerInfo"
        curl = [BUF, "curl", "--schema", contract, "--protocol", "grpc", "--http2-prior-knowledge", method]
        info = subprocess.run(curl, capture_output=True, text=True, timeout=300, check=False)
        assert info.returncode == 0, info.stderr
        assert json.loads(info.stdout)["version"]
