# SPDX-License-Identifier: Apache-2.0
"""Uploads of server programs through a real server: their checks, the stored versions, and later runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from qonduit.v1 import deployment_service_pb2, job_service_pb2, program_service_pb2, result_service_pb2
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import ResultType
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_client import Client
from qonduit_client.aio import Client as AsyncClient
from qonduit_client.cli.commands import qonduit as commands
from qonduit_client.errors import JobFailed, NotFound
from tests.e2e.faults.points import KillPoint
from tests.e2e.faults.trap import Trap
from tests.server_process import serving, serving_programs

#: The runs of a burst.
BURST = 60
CHECKS = "qonduit_server.rpc.server_program_checks"
SOURCE = """
import numpy as np
from qiskit import QuantumCircuit

def main(backend, user_messenger, iterations=3):
    return {"iterations": iterations}
"""
SCRIPT = "from qiskit_serverless import save_result\nsave_result(1)\n"
PARAMETERS = {
    "type": "object",
    "properties": {"iterations": {"type": "integer", "minimum": 1}, "bounds": {"items": {"type": "number"}}},
    "required": ["iterations"],
}


class Calls:
    """The calls of these tests."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.channel = grpc.insecure_channel(target)
        self.jobs = JobServiceStub(self.channel)
        self.deployments = DeploymentServiceStub(self.channel)
        self.results = ResultServiceStub(self.channel)

    def upload(self, source: str = SOURCE, request_id: str = "", options: Any = None, **metadata: Any) -> Job:
        program = program_of(source, options, **metadata)
        request = job_service_pb2.CreateJobRequest(
            job=Job(type=JobType.JOB_TYPE_IBM_UPLOAD), deployment=Deployment(programs=[program]), request_id=request_id
        )
        return self.jobs.CreateJob(request, timeout=120).job

    def receipt(self, job: Job) -> ServerProgram:
        assert job.state == JobState.JOB_STATE_SUCCEEDED, job
        (result,) = self.results.ListResults(result_service_pb2.ListResultsRequest(job_id=job.id)).results
        assert result.result_type == ResultType.RESULT_TYPE_UPLOAD
        return result.upload

    def run(self, program: str, **inputs: Any) -> Job:
        request = job_service_pb2.CreateJobRequest(
            job=Job(type=JobType.JOB_TYPE_IBM_RUNNER), program=program, device="IBM/aer_simulator"
        )
        request.job.inputs.update(inputs)
        return self.jobs.CreateJob(request, timeout=120).job


def program_of(source: str, options: Any = None, **metadata: Any) -> QuantumProgram:
    program = QuantumProgram(
        quantum_circuit=source,
        assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON,
        python_file_path="vqe.py",
        python_file_metadata=json.dumps(metadata) if metadata else "",
    )
    program.python_file_options.update(options or {})
    return program


def violations(error: grpc.RpcError) -> dict[str, str]:
    """Return the violations of INVALID_ARGUMENT by field."""
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    found = {}
    for detail in rpc_status.from_call(error).details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            message = error_details_pb2.BadRequest.FromString(detail.value)
            found |= {each.field: each.description for each in message.field_violations}
    return found


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with serving_programs(tmp_path_factory.mktemp("uploads")) as server:
        found = Calls(server.target)
        yield found
        found.channel.close()


def test_an_upload_is_checked_and_stored_as_the_next_version(calls: Calls) -> None:
    job = calls.upload(name="vqe", description="Energy.", spec={"parameters": PARAMETERS})
    assert (job.executed_on_id, job.device, job.shots, job.attempt) == (0, "", 0, 1)
    first = calls.receipt(job)
    assert (first.name, first.version, first.description) == ("vqe", 1, "Energy.")
    assert first.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert (first.entry_point, first.environment, first.schemas) == ("main", "default", ["parameters"])
    assert list(first.imports) == ["numpy", "qiskit"]
    assert first.upload_job_id == job.id
    second = calls.receipt(calls.upload(SOURCE + "\n# changed", name="vqe"))
    assert second.version == 2
    assert second.sha256 != first.sha256
    stored = calls.deployments.GetDeployment(
        deployment_service_pb2.GetDeploymentRequest(id=first.deployment_id)
    ).deployment
    assert stored.server_program == first
    assert [program.id for program in stored.programs] == [first.program_id]
    assert stored.programs[0].quantum_circuit == SOURCE


def test_the_events_of_an_upload_are_those_of_a_job(calls: Calls) -> None:
    program = program_of(SOURCE, name="watched")
    request = job_service_pb2.RunJobRequest(
        job=Job(type=JobType.JOB_TYPE_IBM_UPLOAD), deployment=Deployment(programs=[program])
    )
    events = [answer.event for answer in calls.jobs.RunJob(request, timeout=120)]
    assert [event.WhichOneof("event") for event in events] == [
        *("created", "state_change", "program_run", "result_ready", "state_change")
    ]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].state_change.job.state == JobState.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize(
    ("source", "reason", "line", "text"),
    [
        ("def main(a, b):\n    return (\n", "SYNTAX_ERROR", 2, "was never closed"),
        ("def run(backend, messenger): ...\n", "NO_ENTRY_POINT", 0, "main(backend, user_messenger, **inputs)"),
        ("def main(backend): ...\n", "NO_ENTRY_POINT", 0, "main"),
        ("import numpy\nimport nowhere.inside\ndef main(a, b): ...\n", "MISSING_IMPORT", 2, "nowhere (line 2)"),
        (
            "from numpy import nothing\nimport qiskit.nothing\ndef main(a, b): ...\n",
            "MISSING_IMPORT",
            2,
            "qiskit.nothing",
        ),
        ("x = " + "(" * 5000 + ")" * 5000, "SYNTAX_ERROR", 1, "too many nested parentheses"),
    ],
)
def test_a_source_that_cannot_run_fails_with_its_line(
    calls: Calls, source: str, reason: str, line: int, text: str
) -> None:
    job = calls.upload(source, name="wrong")
    assert job.state == JobState.JOB_STATE_FAILED
    failure = job.program_runs[0].failure
    assert (failure.category, failure.reason, failure.line) == (FailureCategory.FAILURE_CATEGORY_PROGRAM, reason, line)
    assert text in failure.message
    with pytest.raises(grpc.RpcError) as caught:
        calls.run("wrong")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_source_never_runs_when_it_is_uploaded(calls: Calls) -> None:
    source = "raise SystemExit(3)\ndef main(backend, user_messenger): ...\n"
    assert calls.receipt(calls.upload(source, name="unrun")).version == 1


def test_a_source_may_guard_imports_and_run_as_a_script(calls: Calls) -> None:
    source = """
from qiskit_serverless import get_arguments, save_result
try:
    import nowhere
except ImportError:
    nowhere = None
save_result(get_arguments())
"""
    assert calls.receipt(calls.upload(source, name="script")).entry_point == ""
    named = calls.upload("def solve(a, b): ...\n", options={"entry_point": "solve"}, name="named")
    assert calls.receipt(named).entry_point == "solve"


@pytest.mark.parametrize(
    ("metadata", "options", "field", "text"),
    [
        ({"name": "a@b"}, {}, "python_file_metadata.name", "without @"),
        ({"name": 3}, {}, "python_file_metadata.name", "must be a string, got 3"),
        (
            {"name": "a", "spec": {"parameters": {"type": "nothing"}}},
            {},
            "python_file_metadata.parameters.type",
            "nothing",
        ),
        ({"name": "a", "parameters": {"$ref": "https://example.org/x"}}, {}, "python_file_metadata.parameters", "$ref"),
        (
            {"name": "a", "parameters": {"properties": {"x": {"pattern": "("}}}},
            {},
            "python_file_metadata.parameters.",
            "(",
        ),
        ({"name": "a", "max_execution_time": -1}, {}, "python_file_metadata.max_execution_time", "above 0"),
        ({"name": "a"}, {"colour": "red"}, "python_file_options.colour", "unknown; known: environment, entry_point"),
        ({"name": "a"}, {"environment": "moon"}, "python_file_options.environment", "known: default"),
        ({"name": "a"}, {"limits": {"max_child_jobs": 1.5}}, "python_file_options.limits.max_child_jobs", "integer"),
    ],
)
def test_invalid_metadata_and_options_are_refused_with_their_path(
    calls: Calls, metadata: dict[str, Any], options: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        calls.upload(options=options, **metadata)
    ((path, message),) = violations(caught.value).items()
    assert path.startswith(f"deployment.programs[0].{field}")
    assert text in message


def test_a_pattern_that_takes_too_long_ends_with_its_process(calls: Calls) -> None:
    slow = {"properties": {"text": {"pattern": "^(a+)+$"}}}
    calls.receipt(calls.upload(name="slow", parameters=slow))
    with pytest.raises(grpc.RpcError) as caught:
        calls.run("slow", text="a" * 40 + "b")
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "simpler schemas" in caught.value.details()


def test_inputs_are_checked_against_the_schema_of_the_parameters(calls: Calls) -> None:
    calls.receipt(calls.upload(name="checked", spec={"parameters": PARAMETERS}))
    with pytest.raises(grpc.RpcError) as caught:
        calls.run("checked", iterations="many", bounds=[1, "two"])
    found = violations(caught.value)
    assert found.keys() == {"job.inputs.iterations", "job.inputs.bounds[1]"}
    assert "'many' is not of type 'integer'" in found["job.inputs.iterations"]
    with pytest.raises(grpc.RpcError) as caught:
        calls.run("checked@1")
    assert "'iterations' is a required property" in violations(caught.value)["job.inputs"]


def test_a_repeated_upload_is_stored_once(calls: Calls) -> None:
    request_id = str(uuid.uuid4())
    first = calls.upload(request_id=request_id, name="once")
    again = calls.upload(request_id=request_id, name="once")
    assert first.id == again.id
    assert calls.receipt(calls.upload(name="once")).version == 2


def test_versions_never_change_and_their_numbers_are_not_used_again(calls: Calls) -> None:
    receipt = calls.receipt(calls.upload(name="fixed"))
    update = deployment_service_pb2.UpdateDeploymentRequest(deployment=Deployment(id=receipt.deployment_id))
    update.deployment.programs.append(program_of("x = 1"))
    with pytest.raises(grpc.RpcError) as caught:
        calls.deployments.UpdateDeployment(update)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "never changes" in caught.value.details()
    del update.deployment.programs[:]
    update.deployment.labels["project"] = "vqe"
    assert calls.deployments.UpdateDeployment(update).deployment.labels == {"project": "vqe"}
    calls.deployments.DeleteDeployment(deployment_service_pb2.DeleteDeploymentRequest(id=receipt.deployment_id))
    assert calls.receipt(calls.upload(name="fixed")).version == 2


def test_versions_are_listed_by_a_filter(calls: Calls) -> None:
    for _ in range(3):
        calls.receipt(calls.upload(name="listed"))
    calls.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(
            deployment=Deployment(name="listed", programs=[program_of("x = 1")])
        )
    )

    def versions(filter: str) -> list[int]:
        page = calls.deployments.ListDeployments(deployment_service_pb2.ListDeploymentsRequest(filter=filter))
        return [each.server_program.version for each in page.deployments]

    assert versions('name = "listed" AND server_program = true') == [3, 2, 1]
    assert versions('name = "listed" AND version >= 2') == [3, 2]
    assert 0 not in versions("server_program = true")
    assert versions('name = "listed" AND server_program = false') == [0]


def test_an_upload_of_a_stored_deployment_copies_its_program(calls: Calls) -> None:
    stored = calls.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(
            deployment=Deployment(name="draft", programs=[program_of(SOURCE)])
        )
    ).deployment
    request = job_service_pb2.CreateJobRequest(
        job=Job(type=JobType.JOB_TYPE_IBM_UPLOAD, deployment_id=stored.id), validate_only=True
    )
    preview = calls.jobs.CreateJob(request, timeout=120).job
    assert (preview.id, preview.type) == (0, JobType.JOB_TYPE_IBM_UPLOAD)
    request.validate_only = False
    job = calls.jobs.CreateJob(request, timeout=120).job
    receipt = calls.receipt(job)
    assert (job.deployment_id, receipt.name) == (stored.id, "draft")
    assert receipt.deployment_id != stored.id


def test_an_upload_needs_no_device_and_takes_none(calls: Calls) -> None:
    request = job_service_pb2.CreateJobRequest(
        job=Job(type=JobType.JOB_TYPE_IBM_UPLOAD, shots=5),
        deployment=Deployment(programs=[program_of(SOURCE, name="d")]),
    )
    with pytest.raises(grpc.RpcError) as caught:
        calls.jobs.CreateJob(request)
    assert "job.shots" in violations(caught.value)
    request.job.shots, request.device = 0, "IBM/aer_simulator"
    with pytest.raises(grpc.RpcError) as caught:
        calls.jobs.CreateJob(request)
    assert "device" in violations(caught.value)
    rerun = calls.upload(name="d")
    with pytest.raises(grpc.RpcError) as caught:
        calls.jobs.RerunJob(job_service_pb2.RerunJobRequest(id=rerun.id))
    assert "is an upload" in caught.value.details()


def test_an_empty_source_is_refused_also_with_a_path(calls: Calls) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        calls.upload(" ", name="empty")
    assert violations(caught.value).keys() == {"deployment.programs[0].quantum_circuit"}


def test_environments_are_listed_with_their_packages(calls: Calls) -> None:
    listed = ProgramServiceStub(calls.channel).ListLanguages(program_service_pb2.ListLanguagesRequest())
    (environment,) = listed.python_environments
    assert environment.name == "default"
    assert environment.python_version.startswith("3.")
    assert environment.packages["qiskit"].startswith("2.")


@pytest.mark.parametrize("client", ["sync", "async"])
def test_both_clients_upload_list_show_and_delete(calls: Calls, client: str, tmp_path: Path) -> None:
    name = f"of-{client}"
    file = tmp_path / f"{name}.py"
    file.write_text(SOURCE)
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"spec": {"parameters": PARAMETERS}}))
    use = sync_use if client == "sync" else async_use
    uploaded, listed, latest, source, deleted = use(calls.target, file, metadata, name)
    assert [(each.name, each.version, list(each.schemas)) for each in uploaded] == [
        (name, 1, ["parameters"]),
        (name, 2, []),
    ]
    assert list(listed) == [uploaded[1], uploaded[0]]
    assert latest == uploaded[1]
    assert (source, deleted) == (SOURCE, 1)


def sync_use(target: str, file: Path, metadata: Path, name: str) -> tuple[Any, ...]:
    with Client(target) as client:
        uploaded = [client.programs.upload(file, metadata), client.programs.upload(SOURCE, {"name": "x"}, name=name)]
        listed = client.programs.list(name)
        latest = client.programs.get(name)
        source = client.programs.source(f"{name}@1")
        with pytest.raises(JobFailed, match="was never closed") as caught:
            client.programs.upload("def main(\n", {"name": name})
        assert caught.value.failure.line == 1
        deleted = client.programs.delete(f"{name}@2")
        assert [each.version for each in client.programs.list(name)] == [1]
        with pytest.raises(NotFound):
            client.programs.delete(f"{name}@2")
        return uploaded, listed, latest, source, deleted


def async_use(target: str, file: Path, metadata: Path, name: str) -> tuple[Any, ...]:
    async def use() -> tuple[Any, ...]:
        async with AsyncClient(target) as client:
            first = await client.programs.upload(file, metadata)
            second = await client.programs.upload(SOURCE, {"name": "x"}, name=name)
            listed = await client.programs.list(name)
            latest = await client.programs.get(name)
            source = await client.programs.source(first)
            return [first, second], listed, latest, source, await client.programs.delete(second)

    return asyncio.run(use())


def test_the_command_line_uploads_lists_shows_and_deletes(calls: Calls, tmp_path: Path) -> None:
    file = tmp_path / "solver.py"
    file.write_text(SOURCE)

    def qonduit(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(commands, [*arguments, "--server", calls.target])
        assert done.exit_code == code, done.output
        return done.output

    assert "program solver@1: stored as deployment" in qonduit("program", "upload", str(file))
    qonduit("program", "upload", str(file))
    (latest, first) = [json.loads(line) for line in qonduit("program", "list", "solver", "--json").splitlines()]
    assert (latest["version"], first["version"]) == (2, 1)
    assert qonduit("program", "show", "solver@1", "--source") == SOURCE
    assert "entry point" in qonduit("program", "show", "solver")
    assert "deleted" in qonduit("program", "delete", "solver@1")
    qonduit("program", "show", "solver@1", code=3)
    file.write_text("import nowhere\ndef main(a, b): ...\n")
    assert "nowhere (line 1)" in qonduit("program", "upload", str(file), code=1)


def test_files_of_qunicorn_are_uploaded_and_run(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "solver.py").write_text(SOURCE)
    (tmp_path / "solver.json").write_text(json.dumps({"name": "imported", "spec": {"parameters": PARAMETERS}}))
    program = {"python_file_path": "solver.py", "python_file_metadata": "solver.json"}
    job = {"providerName": "IBM", "deviceName": "aer_simulator", "deploymentId": 1, "token": ""}
    entries = tmp_path / "entries.json"
    entries.write_text(
        json.dumps(
            [
                {"programs": [{**program, "python_file_inputs": [{"iterations": 2}]}]},
                {"programs": [{**program, "python_file_path": "../../etc/passwd"}]},
                {**job, "type": "IBM_UPLOAD"},
                {**job, "type": "IBM_RUNNER"},
            ]
        )
    )
    done = CliRunner().invoke(commands, ["import-qunicorn", str(entries), "--json", "--server", calls.target])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["outcome"] for line in lines] == ["refused", "stored", "made", "made"]
    assert "must be in the folder of entries.json" in lines[0]["why"]
    with Client(calls.target) as client:
        assert client.programs.get("imported").version == 1
        assert client.programs.job(lines[3]["job_id"]).output() == {"iterations": 2}


def test_a_burst_of_wrong_inputs_is_refused_or_fails_and_delays_no_other_call(calls: Calls) -> None:
    calls.receipt(calls.upload("def main(backend, iterations): ...", name="burst", parameters=PARAMETERS))
    request = job_service_pb2.CreateJobRequest(
        job=Job(type=JobType.JOB_TYPE_IBM_RUNNER), program="burst", device="IBM/aer_simulator"
    )
    request.job.inputs.update({"iterations": "many"})
    burst = [calls.jobs.CreateJob.future(request, timeout=120) for _ in range(BURST)]
    # It is answered while the burst waits for the one worker.
    calls.deployments.ListDeployments(deployment_service_pb2.ListDeploymentsRequest(page_size=1), timeout=60)
    queued = []
    for each in burst:
        if each.code() == grpc.StatusCode.OK:
            queued.append(each.result().job.id)
        else:
            assert violations(each).keys() == {"job.inputs.iterations"}
    # Those that found all places for checks in use are checked when they start.
    assert 0 < len(queued) < BURST
    for job_id in queued:
        *_, last = calls.jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=job_id), timeout=240)
        run = last.event.state_change.job.program_runs[0]
        assert (run.failure.reason, "'many' is not of type" in run.failure.message) == ("INVALID_INPUTS", True), run
    assert calls.run("burst", iterations=3).id


#: Where the server of an upload dies: its source is not checked, its version is not committed, its answer is not sent.
UPLOAD_POINTS = [
    KillPoint("upload-not-checked", 2, "server", CHECKS, "ServerProgramChecker.checked", "before", 1),
    KillPoint("upload-not-committed", 2, "server", "qonduit_server.store.jobs.job_creation", "CREATE.run", "after", 1),
    KillPoint("upload-committed", 2, "server", "qonduit_server.store.jobs.job_rows", "create", "after", 1),
]


@pytest.mark.parametrize("point", UPLOAD_POINTS, ids=lambda point: point.name)
def test_an_upload_whose_server_dies_is_stored_once(point: KillPoint, tmp_path: Path) -> None:
    trap = Trap(tmp_path / "trap", lambda *_: None, UPLOAD_POINTS)
    request_id = str(uuid.uuid4())
    settings = {"providers": "IBM", "workers": "1", "enable_python_source": "PYTHON"}
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, environment=trap.environment, **settings) as server:
        trap.arm(point.name)
        calls = Calls(server.target)
        with pytest.raises(grpc.RpcError):
            calls.upload(SCRIPT, request_id, name="once")
        assert server.process.wait(60) == -9
        calls.channel.close()
    trap.close()
    with serving(database, **settings) as server, Client(server.target) as client:
        stored = [each.version for each in client.programs.list("once")]
        assert stored == ([1] if point.name == "upload-committed" else [])
        calls = Calls(server.target)
        receipt = calls.receipt(calls.upload(SCRIPT, request_id, name="once"))
        assert receipt.version == 1
        assert [each.version for each in client.programs.list("once")] == [1]
        assert len(list(client.jobs())) == 1
        calls.channel.close()
