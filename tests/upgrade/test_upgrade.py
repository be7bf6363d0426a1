# SPDX-License-Identifier: Apache-2.0
"""The current server upgrades databases of every schema: all data stays readable, no job runs twice or is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import create_engine, text

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_service_pb2 import ListDeploymentsRequest
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.result_service_pb2 import ListResultsRequest, ReadBufferRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit_server.lifecycle import is_terminal
from qonduit_server.store import migrations
from qonduit_server.store.engines import parse_url
from qonduit_server.store.schema import metadata
from tests.postgresql import PostgresqlServer
from tests.server_process import serving
from tests.upgrade.sample import (
    ANGLES,
    BELL,
    FOLDER,
    GHZ,
    LARGE,
    POINTS,
    STATES,
    SWEEP,
    creating,
    deploying,
    request_id,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*expression-based index")
SAMPLES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".sqlite3", ".sql"))


@pytest.fixture(params=SAMPLES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database that holds a sample."""
    sample = FOLDER / request.param
    if sample.suffix == ".sqlite3":
        shutil.copyfile(sample, tmp_path / "old.sqlite3")
        yield f"sqlite:///{tmp_path / 'old.sqlite3'}"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name = server.new_database()
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute(sample.read_text())  # type: ignore[call-overload]
    yield server.url(name)
    server.drop_database(name)


def test_there_are_samples_of_every_revision() -> None:
    revisions = {one.revision for one in ScriptDirectory.from_config(migrations.configuration()).walk_revisions()}
    wanted = {f"{revision}.{kind}" for revision in revisions for kind in ("sql", "sqlite3")}
    assert set(SAMPLES) == wanted, "make upgrade-sample creates those of the newest revision"


def test_samples_are_never_recreated() -> None:
    assert f"{migrations.HEAD}.sqlite3" in SAMPLES
    before = {name: (FOLDER / name).stat().st_mtime_ns for name in SAMPLES}
    done = subprocess.run(
        [sys.executable, "-m", "tests.upgrade"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "never recreated" in done.stdout
    assert {name: (FOLDER / name).stat().st_mtime_ns for name in SAMPLES} == before


@pytest.mark.timeout(240)
def test_a_server_upgrades_the_database_of_an_older_one(url: str) -> None:
    with create_engine(parse_url(url)).connect() as connection:
        left = connection.execute(text("SELECT id, name, state, last_sequence, request_id FROM jobs")).all()
    assert {(row.name, row.state) for row in left} >= {(name, int(state)) for name, state in STATES.items()}
    with serving(url, providers="IBM", preload="IBM") as server, grpc.insecure_channel(server.target) as channel:
        jobs = JobServiceStub(channel)
        listed = {job.id: job for job in jobs.ListJobs(calls.ListJobsRequest(page_size=100), timeout=100).jobs}
        assert set(listed) == {row.id for row in left}
        assert {job.device for job in listed.values()} == {"IBM/aer_simulator"}
        labelled = jobs.ListJobs(calls.ListJobsRequest(filter='label.project = upgrade AND label."\\*":*'), timeout=100)
        assert [job.id for job in labelled.jobs] == [job.id for job in listed.values() if job.labels]
        for row in left:
            ended = follow(jobs, row.id, row.last_sequence if is_terminal(row.state) else None)
            if row.name == LARGE:
                check_inputs(ResultServiceStub(channel), listed[row.id])
            check(ResultServiceStub(channel), ended, "again" if row.request_id == request_id("again") else row.name)
            if is_terminal(row.state):
                # It ended before the upgrade: unchanged.
                assert (ended.state, ended.last_sequence) == (row.state, row.last_sequence)
        check_deployments(jobs, DeploymentServiceStub(channel), {row.name: listed[row.id] for row in left})
    check_schema(url)
    check_stored_bytes(url)


def check_stored_bytes(url: str) -> None:
    """Check that the bytes counted at the upgrade, and the changes since, are those of the rows."""
    sizes = (
        "SELECT length(program) AS size FROM programs UNION ALL SELECT size FROM results "
        "UNION ALL SELECT length(data) FROM buffers "
        "UNION ALL SELECT length(data) FROM options JOIN job_options USING (sha256)"
    )
    with create_engine(parse_url(url)).connect() as connection:
        expected = connection.execute(text(f"SELECT sum(size) FROM ({sizes}) AS sizes")).scalar_one()
        assert connection.execute(text("SELECT sum(stored_bytes) FROM owner_totals")).scalar_one() == expected > 0


def follow(jobs: JobServiceStub, job_id: int, last: int | None) -> Job:
    """Watch a job from its first event to its last; check that none is missing."""
    replies = list(jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=100))
    events = [reply.event for reply in replies if reply.event.WhichOneof("event") != "heartbeat"]
    assert [event.sequence for event in events] == list(range(1, (last or len(events)) + 1))
    assert events[0].created.id == job_id
    return events[-1].state_change.job


def check(results: ResultServiceStub, job: Job, name: str) -> None:
    """Check a job's final state and results."""
    expected = {"failed": JobState.JOB_STATE_FAILED, "cancelled": JobState.JOB_STATE_CANCELLED}
    expected["cancelling"] = JobState.JOB_STATE_CANCELLED
    assert job.state == expected.get(name, JobState.JOB_STATE_SUCCEEDED), (name, job)
    found = results.ListResults(ListResultsRequest(job_id=job.id), timeout=100).results
    counts = {"cancelled": 0, "cancelling": 0, "succeeded": 2, "again": 2, SWEEP: len(POINTS)}
    assert len(found) == counts.get(name, 1), name
    for result in found:
        assert sum(result.counts_and_probabilities.counts.values()) == result.shots == 100
    if name == SWEEP:
        assert [result.point for result in found] == [0, 1]
        assert [list(result.counts_and_probabilities.counts) for result in found] == [["0x0"], ["0x1"]]
    if name == "running":
        assert job.attempt == 2
    if name == "failed":
        assert job.failure.reason
        assert job.failure.message


def check_inputs(results: ResultServiceStub, job: Job) -> None:
    """Check that inputs too large for the job's row are read unchanged."""
    pieces = results.ReadBuffer(ReadBufferRequest(name=job.inputs_reference.name), timeout=100)
    assert MessageToDict(Struct.FromString(b"".join(piece.data for piece in pieces))) == ANGLES


def check_deployments(jobs: JobServiceStub, deployments: DeploymentServiceStub, known: dict[str, Job]) -> None:
    """Check that old request ids still deduplicate, and that deployments have their programs."""
    kept = deployments.CreateDeployment(deploying(), timeout=100).deployment
    assert kept.id == known["of a deployment"].deployment_id
    assert [program.quantum_circuit for program in kept.programs] == [GHZ]
    for name in STATES:
        request = creating(name, kept.id if name == "of a deployment" else 0)
        answer = jobs.CreateJob(request, timeout=100)
        assert answer.deduplicated, name
        assert answer.job.id == known[name].id or name == "succeeded"
    request = creating("queued")
    request.job.shots += 1
    with pytest.raises(grpc.RpcError) as raised:
        jobs.CreateJob(request, timeout=100)
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    again = calls.RerunJobRequest(id=jobs.CreateJob(creating("succeeded"), timeout=100).job.id)
    again.request_id = request_id("again")
    assert jobs.RerunJob(again, timeout=100).deduplicated
    labelled = ListDeploymentsRequest(filter="label.project = upgrade")
    assert list(deployments.ListDeployments(labelled, timeout=100).deployments) == ([kept] if kept.labels else [])
    listed = deployments.ListDeployments(ListDeploymentsRequest(page_size=100), timeout=100).deployments
    texts = {one.id: [program.quantum_circuit for program in one.programs] for one in listed}
    assert texts[known["succeeded"].deployment_id] == [BELL, GHZ]
    # A rerun uses the job's own programs, not the current ones of its deployment.
    rerun = jobs.RerunJob(calls.RerunJobRequest(id=known["of a deployment"].id), timeout=100).job
    assert rerun.program_runs[0].program_id == known["of a deployment"].program_runs[0].program_id
    assert follow(jobs, rerun.id, None).state == JobState.JOB_STATE_SUCCEEDED


def check_schema(url: str) -> None:
    """Check that the schema is current, and that inline deployments are marked as such."""
    assert migrations.inspect(url).revision == migrations.HEAD
    with create_engine(parse_url(url)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        inline = connection.execute(
            text("SELECT jobs.name, is_inline FROM jobs JOIN deployments ON deployments.id = deployment_id")
        ).all()
        # The jobs that were queued have run at the cost of their caller.
        shares = connection.execute(text("SELECT owner, weight, virtual_time > 0 FROM lanes")).all()
        assert [(owner, weight, bool(used)) for owner, weight, used in shares] == [("anonymous", 1.0, True)]
        assert connection.execute(text("SELECT count(*) FROM jobs WHERE rank != 0 OR not_before != 0")).scalar() == 0
    assert {(name, bool(is_inline)) for name, is_inline in inline if name in STATES} == {
        (name, name != "of a deployment") for name in STATES
    }
