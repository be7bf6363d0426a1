# SPDX-License-Identifier: Apache-2.0
"""Python source through a real server: it runs where the operator allows it, and cannot harm a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import deployment_pb2, job_service_pb2, system_service_pb2
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_client import Client
from qonduit_server import app
from qonduit_server.errors import StartError
from qonduit_server.settings import Settings
from tests.benchmarks.programs import BELL
from tests.missing_components import lacking
from tests.server_process import Server, serving

DEVICE = "IBM/aer_simulator"
QRISP = Path(__file__).resolve().parents[2] / ".venv-qrisp" / "bin" / "python"

PROGRAMS = {
    "QISKIT": """
from qiskit import QuantumCircuit
circuit = QuantumCircuit(2, 2)
circuit.rx(inputs["angle"], 0)
circuit.cx(0, 1)
circuit.measure([0, 1], [0, 1])
print("built")
""",
    "CIRQ": """
import cirq
a, b = cirq.LineQubit.range(2)
bell = cirq.Circuit(cirq.rx(inputs["angle"])(a), cirq.CNOT(a, b), cirq.measure(a, b, key="c"))
""",
    "BRAKET": """
from braket.circuits import Circuit
bell = Circuit().rx(0, inputs["angle"]).cnot(0, 1)
""",
    "PYTHON": """
import qiskit
def make():
    circuit = qiskit.QuantumCircuit(2)
    circuit.rx(inputs["angle"], 0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit
if __name__ == "__main__":
    only = make()
""",
}


def run(server: Server, source: str, language: str, **fields: object) -> tuple[Job, list[str]]:
    """Run one program; return the job as it ended, and its log messages."""
    program = deployment_pb2.QuantumProgram(
        quantum_circuit=source, assembler_language=AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{language}")
    )
    request = job_service_pb2.RunJobRequest(
        job=Job(shots=100), device=DEVICE, deployment=deployment_pb2.Deployment(programs=[program])
    )
    request.job.inputs.update(fields)  # type: ignore[arg-type]  # JSON values
    lines = []
    with grpc.insecure_channel(server.target) as channel:
        for answer in JobServiceStub(channel).RunJob(request, timeout=280):
            if answer.event.HasField("log"):
                lines.append(answer.event.log.message)
            if answer.event.HasField("state_change"):
                job = answer.event.state_change.job
    return job, lines


def failure(job: Job) -> Failure:
    assert job.state == JobState.JOB_STATE_FAILED
    return job.program_runs[0].failure


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker that runs the source of all installed SDKs."""
    folder = tmp_path_factory.mktemp("sandbox")
    allowed = ",".join(PROGRAMS)
    with serving(
        f"sqlite:///{folder / 'q.sqlite3'}", providers="IBM", workers="1", enable_python_source=allowed
    ) as running:
        Client(running.target).run(BELL, device=DEVICE, shots=10).result(timeout=90)
        yield running


@pytest.mark.parametrize("language", PROGRAMS)
def test_source_of_each_sdk_runs_with_its_inputs(language: str, open_server: Server) -> None:
    job, lines = run(open_server, PROGRAMS[language], language, angle=3.141592653589793)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job
    result = Client(open_server.target).job(job.id).result(timeout=100)
    assert dict(result.counts) == {"0x3": 100}
    assert [line for line in lines if "input" in line] == []
    assert [line for line in lines if "printed" in line] == (
        ["the source printed: built"] if language == "QISKIT" else []
    )


ATTACKS = {
    "kills its parent": "import os\nos.kill(os.getppid(), 9)",
    "reads the worker": "import os\nopen(f'/proc/{os.getppid()}/environ').read()",
    "forks": "import os\nwhile True: os.fork()",
    "breaks down": "import ctypes\nctypes.string_at(0)",
    "leaves": "import os\nos._exit(0)",
    "eats memory": "x = []\nwhile True: x.append(bytes(1 << 24))",
    "floods": "while True: print('x' * 100_000)",
    "answers nonsense": "import os\nos.write(3, b'\\xff' * 70_000)",
    "forges a circuit": (
        'import os\nos.write(3, b\'{"language": "QISKIT", "size": 9}\\nQISKIT\\xff\\xff\\xff\')\nos._exit(0)'
    ),
    "recurses": "def f(): f()\nf()",
    "has no circuit": "pass",
}


def test_the_worker_survives_any_source(open_server: Server) -> None:
    before = set(open_server.family())
    for name, source in ATTACKS.items():
        job, _ = run(open_server, source, "PYTHON")
        reported = failure(job)
        assert reported.reason not in ("INTERNAL", "WORKER_DIED"), (name, reported)
        assert reported.category in (1, 3), (name, reported)  # the program's fault, or a limit
    result = Client(open_server.target).run(BELL, device=DEVICE, shots=10).result(timeout=60)
    assert sum(result.counts.values()) == 10
    assert set(open_server.family()) == before


def test_cancel_ends_a_running_source(open_server: Server) -> None:
    before = set(open_server.family())
    handle = Client(open_server.target).run("import time\ntime.sleep(1000)", DEVICE, language="PYTHON")
    deadline = time.monotonic() + 60
    while not (sandboxes := set(open_server.family()) - before):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    handle.cancel()
    while any(Path(f"/proc/{pid}").exists() for pid in sandboxes):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    assert Client(open_server.target).run(BELL, device=DEVICE, shots=10).result(timeout=60).counts


def test_source_can_be_translated(open_server: Server) -> None:
    done = Client(open_server.target).translate(
        PROGRAMS["QISKIT"], to="QASM3", language="QISKIT", inputs={"angle": 0.5}
    )
    assert "rx(0.5)" in done.source


def test_a_language_without_source_is_an_invalid_setting(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'q.sqlite3'}", enable_python_source=("QASM2",))
    with pytest.raises(StartError, match="QASM2"):
        app.start(settings)


def test_the_server_lists_the_languages_it_runs(open_server: Server) -> None:
    with grpc.insecure_channel(open_server.target) as channel:
        info = SystemServiceStub(channel).GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=100)
    assert set(info.features) >= {"python-source:QISKIT", "python-source:PYTHON"}


class TestOffByDefault:
    """The responses of a server that runs no source."""

    def test_source_is_refused_and_the_supported_form_is_named(self, server: Server) -> None:
        with grpc.insecure_channel(server.target) as channel:
            assert not SystemServiceStub(channel).GetServerInfo(system_service_pb2.GetServerInfoRequest()).features
        for language, needle in (
            ("QISKIT", "Python source in this language is disabled"),
            ("PYTHON", "does not support PYTHON"),
        ):
            with pytest.raises(grpc.RpcError, match=needle):
                run(server, PROGRAMS[language], language)

    @pytest.mark.parametrize("language", ["BRAKET", "QRISP"])
    def test_source_in_a_text_language_fails_its_program(self, language: str, server: Server) -> None:
        job, _ = run(server, "import os\nos.system('true')", language)
        assert failure(job).reason == "PYTHON_SOURCE_DISABLED"
        assert "enable_python_source" in failure(job).message

    def test_qrisps_openqasm_is_still_read(self, server: Server) -> None:
        job, _ = run(server, BELL, "QRISP")
        assert job.state == JobState.JOB_STATE_SUCCEEDED


QRISP_PROGRAM = """
from qrisp import QuantumFloat, h, x, cx
number = QuantumFloat(2)
x(number[0])
cx(number[0], number[1])
circuit = number
"""


@pytest.mark.timeout(300)
def test_qrisp_runs_in_a_separate_environment(tmp_path: Path) -> None:
    if not QRISP.exists():
        lacking("Python source that builds a Qrisp program", "Qrisp")
    with serving(
        f"sqlite:///{tmp_path / 'q.sqlite3'}",
        providers="IBM",
        enable_python_source="QRISP",
        language_python=f"QRISP={QRISP}",
    ) as server:
        job, _ = run(server, QRISP_PROGRAM, "QRISP")
        assert job.state == JobState.JOB_STATE_SUCCEEDED, job
        result = Client(server.target).job(job.id).result(timeout=100)
        assert dict(result.counts) == {"0x3": 100}
        assert [(each.name, each.size) for each in result.registers] == [("number", 2)]


@pytest.mark.timeout(200)
def test_a_source_may_use_no_more_memory_than_its_task(tmp_path: Path) -> None:
    hungry = "import qiskit\ntaken = bytearray(1 << 30)\ncircuit = qiskit.QuantumCircuit(1, 1)\ncircuit.measure(0, 0)\n"
    settings = {"max_task_memory_bytes": str(512 << 20), "enable_python_source": "PYTHON", "providers": "IBM"}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", **settings) as server:
        job, _ = run(server, hungry, "PYTHON")
        assert failure(job).reason == "SANDBOX_MEMORY"
        assert "512 MiB" in failure(job).message
        job, lines = run(server, hungry.replace("1 << 30", "1 << 20") + "print('built')", "PYTHON")
        assert job.state == JobState.JOB_STATE_SUCCEEDED
        assert [line for line in lines if "printed" in line] == ["the source printed: built"]
