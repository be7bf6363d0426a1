# SPDX-License-Identifier: Apache-2.0
"""Server programs on a real server: their jobs, their values, their limits, and their ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit_client import Client, aio
from qonduit_client.errors import JobCancelled, JobFailed
from qonduit_client.program_runs import ProgramRun
from tests.benchmarks.programs import BELL
from tests.server_process import Server, serving, serving_programs

DEVICE = "IBM/aer_simulator"
#: Generous: a machine may be busy.
SECONDS = 240.0
_PROGRAM = FailureCategory.FAILURE_CATEGORY_PROGRAM
_LIMIT = FailureCategory.FAILURE_CATEGORY_LIMIT

VQE = """
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qonduit_client.qiskit import EstimatorV2

def main(backend, user_messenger, steps, rate=0.4):
    theta = Parameter("theta")
    ansatz = QuantumCircuit(1)
    ansatz.ry(theta, 0)
    estimator = EstimatorV2(backend, exact=True)
    observable = SparsePauliOp("Z")
    value = 0.5
    print("starting at", value)
    for step in range(steps):
        points = [[value], [value + 1.5707963267948966], [value - 1.5707963267948966]]
        energy, plus, minus = estimator.run([(ansatz, observable, points)]).result()[0].data.evs
        user_messenger.publish({"step": step, "energy": energy})
        user_messenger.progress((step + 1) / steps, f"step {step}")
        value -= rate * (plus - minus) / 2
    return {"energy": energy, "angle": value}
"""

SLOW = """
import time
def main(backend, user_messenger):
    user_messenger.publish(1)
    time.sleep(1)
    return 7
"""

#: Programs in the words of other SDKs: the shots with the outcome 1 of X, in a sweep or a batch too, and a value.
ADAPTERS = {
    "cirq": """
import cirq, sympy
def main(cirq_sampler, user_messenger, shots):
    qubit, power = cirq.LineQubit(0), sympy.Symbol("power")
    circuit = cirq.Circuit(cirq.X(qubit) ** power, cirq.measure(qubit, key="m"))
    off, on = cirq_sampler.run_sweep(circuit, [{"power": 0}, {"power": 1}], shots)
    user_messenger.publish(off.histogram(key="m").most_common())
    observed = {"observables": -cirq.Z(qubit), "num_samples": 9, "params": {"power": 1}}
    ((value,),) = cirq_sampler.sample_expectation_values(circuit[:1], **observed)
    return [off.histogram(key="m")[0], on.histogram(key="m")[1], round(value)]
""",
    "braket": """
from braket.circuits import Circuit, FreeParameter, Observable
def main(braket_device, user_messenger, shots):
    flip = Circuit().rx(0, FreeParameter("turn"))
    on = braket_device.run(flip, shots=shots, inputs={"turn": 3.141592653589793}).result()
    batch = braket_device.run_batch([Circuit().x(0), Circuit().i(0)], shots=shots).results()
    user_messenger.publish(dict(on.measurement_counts))
    exact = braket_device.run(Circuit().i(0).expectation(Observable.Z(0)), shots=0).result().values[0]
    return [on.measurement_counts["1"], batch[1].measurement_counts["0"], round(exact)]
""",
    "pennylane": """
import pennylane as qml
from qonduit_client.pennylane import QonduitDevice
def main(backend, user_messenger, shots):
    @qml.set_shots(shots)
    @qml.qnode(QonduitDevice(device=backend.name, wires=1))
    def flipped(angle):
        qml.RX(angle, 0)
        return qml.counts()
    @qml.qnode(QonduitDevice(device=backend.name, wires=1))
    def value(angle):
        qml.RX(angle, 0)
        return qml.expval(qml.Z(0))
    gradient = qml.grad(value)(qml.numpy.array(-1.5707963267948966, requires_grad=True))
    return [int(flipped(3.141592653589793)["1"]), int(flipped(0.0)["0"]), round(float(gradient))]
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker and places for three programs."""
    folder = tmp_path_factory.mktemp("programs")
    with serving_programs(folder, max_running_programs="3", max_program_jobs="40") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as found:
        yield found


@pytest.fixture
def run(client: Client, tmp_path: Path) -> Callable[..., ProgramRun]:
    """Run a source as a program."""

    def start(source: str, options: dict[str, object] | None = None, **inputs: object) -> ProgramRun:
        path = tmp_path / "energy.py"
        path.write_text(source)
        return client.programs.run(path, DEVICE, inputs, options=options)

    return start


def failure_of(program: ProgramRun) -> tuple[int, str, str]:
    with pytest.raises(JobFailed):
        program.output(timeout=SECONDS)
    failure = program.job().failure
    return failure.category, failure.reason, failure.message


def processes_of_programs(server: Server) -> set[int]:
    found = set()
    for pid in server.family():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"program_sandbox" in command:
            found.add(pid)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def children(client: Client, program: ProgramRun) -> list[Job]:
    return list(client.jobs(f"parent_job_id = {program.id}"))


class TestRunning:
    def test_a_variational_loop_needs_one_call(self, client: Client, run: Callable[..., ProgramRun]) -> None:
        program = run(VQE, steps=12)
        energies = [found.value["energy"] for found in program.interim_results(timeout=SECONDS)]
        assert len(energies) == 12
        assert energies == sorted(energies, reverse=True)
        output = program.output()
        assert output["energy"] == pytest.approx(-1, abs=0.05)
        job = program.job()
        assert (job.type, job.state, job.progress) == (
            JobType.JOB_TYPE_IBM_RUNNER,
            JobState.JOB_STATE_SUCCEEDED,
            1.0,
        )
        found = children(client, program)
        assert len(found) == 12
        assert {each.parent_job_id for each in found} == {program.id}
        assert {each.state for each in found} == {JobState.JOB_STATE_SUCCEEDED}
        assert [each.id for each in program.children()] == [each.id for each in found]
        lines = [event.log.message for event in program.events() if event.HasField("log")]
        assert lines == ["starting at 0.5"]

    def test_values_are_events_and_can_be_read_again(self, run: Callable[..., ProgramRun]) -> None:
        source = "def main(backend, user_messenger):\n    for n in range(3): user_messenger.publish(n)\n"
        program = run(source)
        first = list(program.interim_results(timeout=SECONDS))
        again = list(program.interim_results(after_sequence=first[0].sequence))
        assert [each.value for each in first] == [0, 1, 2]
        assert again == first[1:]

    def test_a_script_reads_its_arguments_and_saves_its_result(self, run: Callable[..., ProgramRun]) -> None:
        source = """
from qiskit_serverless import get_arguments, save_result, get_runtime_service
from qiskit_ibm_runtime import SamplerV2
from qiskit import QuantumCircuit
arguments = get_arguments()
if __name__ == "__main__":
    circuit = QuantumCircuit(arguments["width"])
    circuit.x(0)
    circuit.measure_all()
    with_service = get_runtime_service().backend()
    job = SamplerV2(mode=with_service).run([circuit], shots=20)
    save_result({"counts": job.result()[0].data.meas.get_counts()})
"""
        assert run(source, width=3).output(timeout=SECONDS) == {"counts": {"001": 20}}

    def test_the_client_of_a_program_needs_no_address(self, run: Callable[..., ProgramRun]) -> None:
        source = f"""
from qonduit_client import Client
def main():
    client = Client("elsewhere.example:1")
    bell = {BELL!r}
    counts = dict(client.run(bell, shots=50).result().counts)
    value = client.estimate(bell, "Z0*Z1", exact=True).values
    return [sum(counts.values()), value, client.devices()[0].name]
"""
        total, value, name = run(source).output(timeout=SECONDS)
        assert total == 50
        assert np.asarray(value) == pytest.approx(1.0)
        assert isinstance(name, str)

    def test_jobs_are_waited_for_in_any_order_between_other_calls(self, run: Callable[..., ProgramRun]) -> None:
        source = f"""
from qonduit_client import Client
from qonduit_client.errors import TimedOut
def main(backend, user_messenger):
    client = Client()
    submit = lambda shots: client.run({BELL!r}, shots=shots)
    late = submit(1)
    try:
        late.wait(timeout=1e-4)
    except TimedOut:
        user_messenger.publish("late")
    waited = late.result()
    first, second, third = submit(2), submit(3), submit(4)
    client.devices()
    after = submit(5)
    user_messenger.progress(0.5)
    client.devices()
    found = [waited, third.result(), after.result(), first.result(), second.result(), submit(6).result(), late.result()]
    return [sum(each.counts.values()) for each in found]
"""
        assert run(source).output(timeout=SECONDS) == [1, 4, 5, 2, 3, 6, 1]

    @pytest.mark.parametrize("sdk", ADAPTERS)
    def test_the_adapters_of_other_sdks_run_in_a_program(self, sdk: str, run: Callable[..., ProgramRun]) -> None:
        program = run(ADAPTERS[sdk], shots=40)
        assert program.output(timeout=SECONDS) == [40, 40, 1]
        assert {each.device for each in program.children()} == {DEVICE}

    def test_arrays_and_complex_numbers_survive(self, run: Callable[..., ProgramRun]) -> None:
        source = """
import numpy as np
def main(backend, user_messenger, matrix):
    assert matrix.dtype == complex and matrix.shape == (2, 2)
    user_messenger.publish(matrix[0], final=True)
    return {"state": matrix @ matrix, "large": np.arange(60_000, dtype=float), "big": 2**80, "none": None}
"""
        matrix = np.array([[1, 2j], [3, 4]])
        program = run(source, matrix=matrix)
        (value,) = program.interim_results(timeout=SECONDS)
        assert value.final
        assert value.value.tolist() == matrix[0].tolist()
        output = program.output()
        assert output["state"].tolist() == (matrix @ matrix).tolist()
        assert output["large"].tolist() == list(range(60_000))
        assert output["big"] == 2**80
        (result,) = program.stored_results()
        assert result.message.buffer.columns[0].name == "json"

    def test_more_parents_than_workers_end(self, client: Client, run: Callable[..., ProgramRun]) -> None:
        programs = [run(VQE, steps=4) for _ in range(4)]
        for program in programs:
            assert program.output(timeout=SECONDS)["energy"] < 1
        assert all(len(children(client, program)) == 4 for program in programs)

    def test_large_results_of_children_are_read(self, run: Callable[..., ProgramRun]) -> None:
        source = """
from qonduit_client import Client
CIRCUIT = "OPENQASM 2.0; include \\"qelib1.inc\\"; qreg q[18]; creg c[18]; " + "".join(
    f"h q[{n}];" for n in range(18)) + "measure q -> c;"
def main():
    result = Client().run(CIRCUIT, shots=40_000).result()
    return [result.buffer is not None, sum(result.counts.values())]
"""
        assert run(source).output(timeout=SECONDS) == [True, 40_000]


class TestSchemas:
    """What a program publishes and returns matches the schemas of its metadata."""

    METADATA: ClassVar = {
        "name": "doubling",
        "return_values": {"type": "object", "properties": {"total": {"type": "integer", "maximum": 100}}},
        "interim_results": {"type": "integer"},
    }
    SOURCE = """
def main(backend, user_messenger, values, factor):
    for value in values:
        try:
            user_messenger.publish(value)
        except ValueError as error:
            user_messenger.publish(str(error), final=True)
    return {"total": sum(map(int, values)) * factor}
"""

    def test_values_that_match_are_published_and_returned(self, client: Client, tmp_path: Path) -> None:
        program = self.uploaded(client, tmp_path)
        run = client.programs.run(program, DEVICE, {"values": [1, 2], "factor": 2})
        assert [each.value for each in run.interim_results(timeout=SECONDS)] == [1, 2]
        assert run.output(timeout=SECONDS) == {"total": 6}

    def test_a_value_that_does_not_match_is_refused_where_it_is_published(self, client: Client, tmp_path: Path) -> None:
        run = client.programs.run(self.uploaded(client, tmp_path), DEVICE, {"values": ["3"], "factor": 1})
        (reported,) = run.interim_results(timeout=SECONDS)
        assert reported.value == (
            "the published value violates the schema interim_results of the program: '3' is not of type 'integer'"
        )

    def test_a_result_that_does_not_match_fails_the_job(self, client: Client, tmp_path: Path) -> None:
        run = client.programs.run(self.uploaded(client, tmp_path), DEVICE, {"values": [3], "factor": 50})
        assert failure_of(run) == (
            _PROGRAM,
            "INVALID_OUTPUT",
            "the result violates the schema return_values of the program: total: 150 is greater than the maximum of "
            "100",
        )

    def uploaded(self, client: Client, folder: Path) -> str:
        path = folder / "doubling.py"
        path.write_text(self.SOURCE)
        return str(client.programs.upload(path, self.METADATA).name)


def test_a_quota_of_one_running_job_lets_parent_and_children_end(tmp_path: Path) -> None:
    with (
        serving_programs(tmp_path, default_quotas="running_jobs=1") as server,
        Client(server.target) as client,
    ):
        (tmp_path / "vqe.py").write_text(VQE)
        programs = [client.programs.run(tmp_path / "vqe.py", DEVICE, {"steps": 3}) for _ in range(2)]
        other = client.run(BELL, DEVICE, shots=10)
        for program in programs:
            assert program.output(timeout=SECONDS)["energy"] < 1
        assert other.result(timeout=SECONDS).counts
        # The quota held the second program while the first one ran.
        first, second = (program.job() for program in programs)
        assert first.finished_at.ToNanoseconds() <= second.started_at.ToNanoseconds()


class TestFailures:
    def test_the_traceback_has_the_frames_of_the_program(self, run: Callable[..., ProgramRun]) -> None:
        source = "import numpy\ndef inner(x):\n    return numpy.linalg.inv(x)\n\ndef main(backend):\n    inner('a')\n"
        category, reason, message = failure_of(run(source))
        assert (category, reason) == (_PROGRAM, "PYTHON_ERROR")
        assert re.search(r'File "energy.py", line 3, in inner: return numpy.linalg.inv', message)
        assert re.search(r'File "energy.py", line 6, in main', message)
        assert "site-packages" not in message

    @pytest.mark.parametrize(
        ("source", "options", "reason", "needle"),
        [
            ("def main(:\n", {}, "SYNTAX_ERROR", "Python:"),
            ("def main(backend):\n    return object()\n", {}, "INVALID_OUTPUT", "type object is not JSON"),
            ("def main(backend):\n    return {1: 2}\n", {}, "INVALID_OUTPUT", "keys of a dictionary must be texts"),
            ("import os\nos._exit(3)\n", {}, "SANDBOX_DIED", "ended its process with 3"),
            ("import sys\nsys.exit('no')\n", {}, "PYTHON_ERROR", "sys.exit"),
            ("import ctypes\nctypes.string_at(0)\n", {}, "SANDBOX_DIED", "SIGSEGV"),
            ("x = 1\n", {"entry_point": "energy"}, "NO_ENTRY_POINT", "defines no function"),
            ("while True: pass\n", {"limits": {"max_execution_time": 1}}, "TIME_LIMIT", "longer than 1 s"),
            ("import time\ntime.sleep(900)\n", {"limits": {"max_execution_time": 1}}, "TIME_LIMIT", "longer than 1 s"),
            (
                "x = []\nwhile True: x.append(bytes(1 << 24))\n",
                {"limits": {"max_memory_bytes": 2**28}},
                "SANDBOX_MEMORY",
                "256 MiB",
            ),
            (
                "def main(backend, user_messenger):\n    user_messenger.publish('x' * 20_000)\n",
                {},
                "PYTHON_ERROR",
                "at most 16384 bytes as JSON, got 20002",
            ),
            (
                "def main(backend, user_messenger):\n    user_messenger.progress(2)\n",
                {},
                "PYTHON_ERROR",
                "between 0 and 1, got 2",
            ),
            ("def main(backend):\n    return 'x' * 40_000_000\n", {}, "RESULT_TOO_LARGE", "return less"),
        ],
    )
    def test_failures_are_those_of_the_program(
        self, source: str, options: dict[str, object], reason: str, needle: str, run: Callable[..., ProgramRun]
    ) -> None:
        category, found, message = failure_of(run(source, options))
        assert (found, category in (_PROGRAM, _LIMIT)) == (reason, True)
        assert needle in message

    def test_the_number_of_children_is_limited(self, client: Client, run: Callable[..., ProgramRun]) -> None:
        source = (
            f"from qonduit_client import Client\ndef main(backend):\n    while True: Client().run({BELL!r}, shots=1)\n"
        )
        program = run(source)
        category, reason, message = failure_of(program)
        assert (category, reason) == (_PROGRAM, "PYTHON_ERROR")
        assert "max_program_jobs" in message
        assert len(children(client, program)) == 40
        # The program has ended, so those that waited are cancelled.
        until(lambda: all(each.HasField("finished_at") for each in children(client, program)))

    def test_a_failed_child_fails_the_program_with_its_line(self, run: Callable[..., ProgramRun]) -> None:
        source = (
            "from qonduit_client import Client\nnonsense = Client().run('x', language='QASM2')\nnonsense.result()\n"
        )
        _, _, message = failure_of(run(source))
        assert "JobFailed" in message
        assert "line 3, in <module>" in message

    def test_printed_text_is_bounded(self, run: Callable[..., ProgramRun]) -> None:
        program = run("for n in range(20_000): print(n, 'x' * 100)\n")
        program.output(timeout=SECONDS)
        lines = [event.log for event in program.events() if event.HasField("log")]
        assert sum(len(line.message) for line in lines) < 1.1 * 1024**2
        assert "the rest is dropped" in lines[-1].message


class TestEnds:
    def test_cancel_kills_the_program_and_its_children(
        self, server: Server, client: Client, run: Callable[..., ProgramRun]
    ) -> None:
        source = f"""
import datetime
from qonduit_client import Client
def main(backend, user_messenger):
    late = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    for _ in range(5): Client().run({BELL!r}, shots=1, schedule={{"not_before": late}})
    user_messenger.publish("waiting")
    while True: pass
"""
        before = processes_of_programs(server)
        program = run(source)
        next(iter(program.interim_results(timeout=SECONDS)))
        assert len(processes_of_programs(server) - before) >= 1
        listed = [each for each in client.workers() if each.provider == "server-programs"]
        assert [(each.job_id, each.pid in processes_of_programs(server)) for each in listed] == [(program.id, True)]
        assert listed[0].memory_bytes > 0
        program.cancel()
        with pytest.raises(JobCancelled):
            program.output(timeout=SECONDS)
        until(lambda: len(processes_of_programs(server)) <= max(1, len(before)))
        until(lambda: {each.state for each in children(client, program)} == {JobState.JOB_STATE_CANCELLED})

    def test_a_lost_process_runs_again_and_adopts_its_children(
        self, server: Server, client: Client, run: Callable[..., ProgramRun]
    ) -> None:
        source = f"""
from qonduit_client import Client
import time
def main(backend, user_messenger):
    found = []
    for seed in range(6):
        found.append(dict(Client().run({BELL!r}, shots=100).result().counts))
        user_messenger.publish(seed)
    time.sleep(0.5)
    return found
"""
        before = processes_of_programs(server)
        program = run(source)
        for value in program.interim_results(timeout=SECONDS):
            if value.value == 3:
                break
        started = processes_of_programs(server) - before
        # The forked one is the youngest.
        os.kill(max(started), signal.SIGKILL)
        output = program.output(timeout=SECONDS)
        assert program.job().attempt == 2
        found = children(client, program)
        assert len(found) == 6
        results = {each.id: dict(client.job(each.id).result().counts) for each in found}
        assert [results[job_id] for job_id in sorted(results)] == output
        attempts = [value.value for value in program.interim_results()]
        assert attempts[:4] == [0, 1, 2, 3]
        assert attempts[-6:] == [0, 1, 2, 3, 4, 5]

    def test_programs_run_again_if_their_fork_server_dies(self, server: Server, run: Callable[..., ProgramRun]) -> None:
        source = SLOW
        programs = [run(source) for _ in range(2)]
        for program in programs:
            next(iter(program.interim_results(timeout=SECONDS)))
        # The oldest process of programs is the one that forks the others.
        os.kill(min(processes_of_programs(server)), signal.SIGKILL)
        assert [program.output(timeout=SECONDS) for program in programs] == [7, 7]
        assert {program.job().attempt for program in programs} == {2}

    def test_a_program_that_was_requeued_by_a_stopped_server_ends_at_the_next(self, tmp_path: Path) -> None:
        database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
        settings = {"providers": "IBM", "workers": "1", "enable_python_source": "PYTHON", "drain_seconds": "0"}
        # Qiskit draws random ids for the parameters.
        (tmp_path / "slow.py").write_text(
            "from qiskit import QuantumCircuit\nfrom qiskit.circuit import ParameterVector\n"
            "from qonduit_client.qiskit import SamplerV2\nimport time\ndef main(backend, user_messenger):\n"
            "    angles, circuit = ParameterVector('angles', 2), QuantumCircuit(1)\n"
            "    circuit.rx(angles[0], 0)\n    circuit.ry(2 * angles[1], 0)\n    circuit.measure_all()\n"
            "    job = SamplerV2(backend).run([(circuit, [0.5, 1.0])], shots=100)\n"
            "    counts = job.result()[0].data.meas.get_counts()\n"
            "    user_messenger.publish(counts)\n    time.sleep(1.5)\n    return counts\n"
        )
        with serving(database, **settings) as server, Client(server.target) as client:
            program = client.programs.run(tmp_path / "slow.py", DEVICE)
            next(iter(program.interim_results(timeout=SECONDS)))
        with serving(database, **settings) as server, Client(server.target) as client:
            again = client.programs.job(program.id)
            output = again.output(timeout=SECONDS)
            assert [each.value for each in again.interim_results()] == [output, output]
            assert len(list(again.children())) == 1


class TestClients:
    """Uploaded programs, in both Python clients and the command line."""

    def test_an_uploaded_program_runs_by_name_and_version(self, client: Client, tmp_path: Path) -> None:
        path = tmp_path / "double.py"
        for factor in (2, 3):
            source = "def main(backend, user_messenger, n):\n    user_messenger.publish(n)\n    return "
            path.write_text(f"{source}{factor} * n\n")
            version = client.programs.upload(path)
        assert version.version == 2
        assert client.programs.run("double", DEVICE, {"n": 7}).output(timeout=SECONDS) == 21
        assert client.programs.run("double@1", DEVICE, {"n": 7}).output(timeout=SECONDS) == 14
        by_id = client.programs.run(version.deployment_id, DEVICE, {"n": 1})
        assert [each.value for each in by_id.interim_results(timeout=SECONDS)] == [1]

    def test_the_asyncio_client_runs_programs(self, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "count.py"
        path.write_text(
            "import numpy as np\ndef main(backend, user_messenger, n):\n"
            "    for k in range(n): user_messenger.publish(k)\n    return np.arange(n)\n"
        )

        async def run() -> tuple[list[int], list[int], int]:
            async with aio.Client(server.target) as client:
                program = await client.programs.run(path, DEVICE, {"n": 3})
                values = [each.value async for each in program.interim_results(timeout=SECONDS)]
                return values, (await program.output()).tolist(), len([job async for job in program.children()])

        assert asyncio.run(run()) == ([0, 1, 2], [0, 1, 2], 0)

    def test_the_command_line_shows_values_as_they_are_published(self, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "vqe.py"
        path.write_text(VQE)
        command = [sys.executable, "-m", "qonduit_client.cli", "--server", server.target]
        done = subprocess.run(
            [*command, "program", "run", str(path), "--input", "steps=3"], capture_output=True, text=True, check=True
        )
        *values, output = [json.loads(line) for line in done.stdout.splitlines()]
        assert [value["step"] for value in values] == [0, 1, 2]
        assert set(output) == {"energy", "angle"}
        assert "starting at 0.5" in done.stderr
        path.write_text("def main(backend):\n    raise ValueError('no')\n")
        failed = subprocess.run([*command, "program", "run", str(path)], capture_output=True, text=True, check=False)
        assert failed.returncode == 1
        assert "ValueError: no" in failed.stderr
