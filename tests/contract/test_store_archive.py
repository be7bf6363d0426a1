# SPDX-License-Identifier: Apache-2.0
"""The contract of the archive, on every database: retention deletes nothing that the archive does not contain."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf.json_format import Parse

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramSucceeded, Task, TaskEvent
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit.v1.result_pb2 import Result
from qonduit_client.cli.as_json import as_dict
from qonduit_server import archive_commands
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.observer import Observer
from qonduit_server.store import catalogue, deployments
from qonduit_server.store.admin import archive, retention
from qonduit_server.store.admin.archive import Archive, ArchiveFailed, files_of, records_of
from qonduit_server.store.admin.archived_objects import Archiver
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import deletion, job_list, job_rows, queue
from qonduit_server.store.results import buffers, result_rows
from tests.archive_kill import BATCH
from tests.store_fixture import CALLER, claim, deployment, description, finished, history, submit, succeed

LONG_AGO = timedelta(days=100)
NEVER = threading.Event()
PATIENCE = 120


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """An open database whose clock is a hundred days behind."""
    database = open_database(
        database_url, clock=lambda: utc_now() - LONG_AGO, keys=KeyRing(keys=[Key("one", b"k" * 32)])
    )
    yield database
    database.close()


def before(days: float = 30) -> int:
    return int((utc_now() - timedelta(days=days)).timestamp() * 1_000_000)


def large(task: Task, data: bytes) -> TaskEvent:
    given = Result(shots=1)
    given.buffer.size_bytes = len(data)
    done = ProgramSucceeded(index=0, result=given, buffer=data)
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, program_succeeded=done)


def ended(db: Database, count: int, **options: Any) -> list[int]:
    """Run jobs to their end; return their ids."""
    made = [submit(db, **options).id for _ in range(count)]
    while tasks := claim(db):
        assert not succeed(db, tasks)
    return made


def everything(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Return the archived records of each job, those of the last file that contains it."""
    found: dict[int, list[dict[str, Any]]] = {}
    for path in files_of(folder):
        of_file: dict[int, list[dict[str, Any]]] = {}
        for record in records_of(path):
            of_file.setdefault(record.get("job_id", 0), []).append(record)
        found.update(of_file)
    return found


def of_jobs(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Return what `everything` returns, without the records of no job: deployments and programs."""
    found = everything(folder)
    del found[0]
    return found


def sweep(db: Database, folder: Path, **options: Any) -> retention.SweepCounts:
    return retention.sweep(db, before(), NEVER, Archiver(db, Archive(folder, **options), as_dict))


def test_all_that_is_deleted_is_archived_whole_and_nothing_else(old: Database, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    data = bytes(range(256)) * 2500
    values = {"x": "y" * 10_000}
    gone = submit(old, name="größer", labels={"a": "b"}, inputs=values)
    (task,) = claim(old)
    queue.record(old, "me", [large(task, data), finished(task)])
    (plain,) = ended(old, 1)
    waits = submit(old)
    named = deployments.create(old, CALLER, deployment(name="kept"))
    changed = deployments.get(old, CALLER, named.id)
    changed.programs[0].quantum_circuit += "// changed"
    deployments.update(old, CALLER, changed)
    expected = {
        job_id: (
            job_rows.get(old, CALLER, job_id),
            history(old, job_id),
            result_rows.list_page(old, CALLER, job_id).items,
            deployments.get(old, CALLER, job_rows.get(old, CALLER, job_id).deployment_id),
        )
        for job_id in (gone.id, plain)
    }
    swept = sweep(old, folder)
    assert (swept.jobs, swept.deployments, swept.programs) == (2, 2, 1)
    (path,) = folder.iterdir()
    assert swept.archived_bytes == path.stat().st_size
    assert [job.id for job in job_list.list_page(old, CALLER).items] == [waits.id]

    found = everything(folder)
    others = found.pop(0)
    assert list(found) == [gone.id, plain]
    for job_id, records in found.items():
        job, events, results, _ = expected[job_id]
        assert {record["owner"] for record in records} == {CALLER}
        archived = Parse(json.dumps(records[0]["job"]), Job())
        assert [archived.id, archived.name, archived.state, archived.finished_at] == [
            *(job.id, job.name, job.state, job.finished_at),
        ]
        parsed = [Parse(json.dumps(record["event"]), JobEvent()) for record in records if record["kind"] == "event"]
        assert parsed == events
        assert [r["result"] for r in records if r["kind"] == "result"] == [as_dict(result) for result in results]
    # Options that are stored apart are part of the job.
    assert dict(Parse(json.dumps(found[gone.id][0]["job"]), Job()).inputs.items())["x"] == values["x"]
    chunks = [record for record in found[gone.id] if record["kind"] == "buffer"]
    assert [chunk["chunk"] for chunk in chunks] == list(range(buffers.count_of(len(data))))
    assert b"".join(b64decode(chunk["data"]) for chunk in chunks) == data
    assert [record["deployment"] for record in others if record["kind"] == "deployment"] == [
        as_dict(stored) for *_, stored in expected.values()
    ]
    (program,) = [record["program"] for record in others if record["kind"] == "program"]
    assert program["deployment_id"] == named.id
    assert "changed" not in program["quantum_circuit"]
    assert sweep(old, folder) == retention.SweepCounts()
    assert len(list(folder.iterdir())) == 1


def test_files_are_private_rotate_by_size_and_are_readable_by_other_programs(old: Database, tmp_path: Path) -> None:
    ended(old, 3)
    folder = tmp_path / "new" / "archive"
    sweep(old, folder, max_file_bytes=1)
    ended(old, 1)
    sweep(old, folder)
    files = sorted(folder.iterdir())
    # The jobs, the deployments, and both of the second sweep.
    assert len(files) == 3
    assert all(path.name.startswith("jobs-") and path.name.endswith(".jsonl.gz") for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in files:
        lines = subprocess.run(["zcat", path], capture_output=True, check=True).stdout.splitlines()
        assert [json.loads(line) for line in lines] == list(records_of(path))


def test_no_secret_is_archived(old: Database, tmp_path: Path) -> None:
    secret = "the-secret-of-a-caller"
    described = description("VENDOR", ["device"])
    described.provider.with_token = True
    catalogue.sync(old, [described])
    spec = JobSpec(shots=1, type=JOB_TYPE_RUNNER, one_time_credential=True)
    device = catalogue.device_by_name(old, "VENDOR/device").id
    new = job_rows.NewJob(caller=CALLER, spec=spec, device_id=device, deployment=deployment(), secret=secret)
    job = job_rows.create(old, new).job
    (task,) = claim(old, provider="VENDOR")
    assert task.credential == secret
    succeed(old, [task])
    assert sweep(old, tmp_path).jobs == 1
    (path,) = files_of(tmp_path)
    text = gzip.decompress(path.read_bytes()).decode()
    assert f'"job_id": {job.id}, ' in text
    assert secret not in text


def kill(url: str, folder: Path, point: str) -> None:
    """Run a sweep in a process that kills itself at a point."""
    killed = subprocess.run(
        [sys.executable, "-m", "tests.archive_kill", url, str(folder), str(before()), point],
        timeout=PATIENCE,
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


@pytest.mark.parametrize("point", ["before the batch is complete", "before the sync", "before the deletion"])
def test_a_killed_server_loses_nothing(old: Database, database_url: str, tmp_path: Path, point: str) -> None:
    """Each job is in the database or complete in the archive after a kill, and complete in the archive in the end."""
    made = ended(old, 3 * BATCH)
    expected = {job_id: len(history(old, job_id)) for job_id in made}
    if database_url.startswith("sqlite"):
        old.close()
    kill(database_url, tmp_path, point)
    db = open_database(database_url)
    stored = {job.id for job in job_list.list_page(db, CALLER, 1000).items}
    # The first batch was deleted: the point is in the second one.
    assert len(stored) == 2 * BATCH
    (torn,) = files_of(tmp_path)
    assert torn.name.endswith(".part")
    archived = everything(tmp_path)
    for job_id in expected.keys() - stored:
        assert len([record for record in archived[job_id] if record["kind"] == "event"]) == expected[job_id]
    sweep(db, tmp_path)
    assert not job_list.list_page(db, CALLER).items
    archived = of_jobs(tmp_path)
    assert sorted(archived) == made
    for job_id, records in archived.items():
        assert [record["kind"] for record in records] == ["job", *["event"] * expected[job_id], "result"]
    db.close()
    # The records that were written twice are shown once.
    listed = command(tmp_path, "list", "--json")
    assert sorted(json.loads(line)["job_id"] for line in listed) == made


def test_two_servers_that_sweep_at_once_lose_nothing(
    old: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "MAX_DELETED", BATCH)
    made = ended(old, 5 * BATCH)
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda _: sweep(old, tmp_path).jobs, range(2)))
    assert sum(counts) == 5 * BATCH
    archived = of_jobs(tmp_path)
    assert sorted(archived) == made


class Failures(Observer):
    """Counts the failed sweeps."""

    def __init__(self) -> None:
        self.count = 0

    def retention_failed(self) -> None:
        self.count += 1


def test_a_full_disk_stops_the_deletion_and_is_reported(old: Database, tmp_path: Path) -> None:
    made = ended(old, 2)
    files = Archive(tmp_path, reserved_bytes=1 << 62)
    lines: list[tuple[str, dict[str, Any]]] = []
    logged = threading.Event()

    def log(event: str, **fields: Any) -> None:
        lines.append((event, fields))
        logged.set()

    failures = Failures()
    archiver = Archiver(old, files, as_dict)
    thread = retention.Retention(old, 30, log, archiver=archiver, observer=failures)
    thread.start()
    assert logged.wait(PATIENCE)
    logged.clear()
    ((event, fields),) = lines
    assert event == "retention failed"
    assert "bytes free" in fields["error"]
    assert "nothing is deleted (retention_archive)" in fields["error"]
    assert failures.count == 1
    assert sorted(job.id for job in job_list.list_page(old, CALLER).items) == made
    assert not everything(tmp_path)
    files._reserved_bytes = 0
    thread.keep(30, 0)
    assert logged.wait(PATIENCE)
    thread.stop()
    assert lines[1][0] == "retention"
    assert lines[1][1]["jobs"] == 2
    archived = of_jobs(tmp_path)
    assert sorted(archived) == made


def test_a_batch_that_fails_leaves_nothing_and_the_next_one_follows(tmp_path: Path) -> None:
    """A real limit of the file size interrupts the write in the middle, as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.archive_limit", str(tmp_path)],
        timeout=PATIENCE,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write the archive {tmp_path}: File too large; nothing is deleted")
    (path,) = files_of(tmp_path)
    assert [record["number"] for record in records_of(path)] == [1, 3]


def test_an_archive_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(archive.StartError, match=r"cannot use the folder .*file.* \(retention_archive\)"):
        Archive(tmp_path / "file")
    with pytest.raises(archive.StartError, match="cannot use the folder"):
        Archive(tmp_path / "file" / "below")


def test_damage_is_reported_and_a_file_in_use_is_not_rewritten(tmp_path: Path) -> None:
    files = Archive(tmp_path)

    def add(number: int, *, fails: bool = False) -> None:
        with files.batch() as write:
            write({"kind": "job", "owner": "anna", "number": number})
            assert not fails

    add(1)
    with pytest.raises(AssertionError):
        add(2, fails=True)
    (path,) = files_of(tmp_path)
    with pytest.raises(archive.StartError, match=r"a server writes .*\.part now"):
        archive.erase(path, "anna")
    files.close_file()
    files.close_file()
    (path,) = files_of(tmp_path)
    assert [record["number"] for record in records_of(path)] == [1]
    # A list that was made before the file was finished has its other name.
    assert [record["number"] for record in records_of(path.with_name(f"{path.name}.part"))] == [1]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(archive.StartError, match=r"jsonl\.gz is damaged"):
        list(records_of(path))
    path.unlink()
    tmp_path.rmdir()
    with pytest.raises(ArchiveFailed, match="No such file or directory; nothing is deleted"):
        add(3)


def test_a_batch_that_cannot_be_undone_ends_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Archive(tmp_path)

    def write(number: int, *, fails: bool = False) -> None:
        with files.batch() as add:
            add({"kind": "job", "owner": "anna", "number": number})
            assert not fails

    write(1)
    with monkeypatch.context() as patch:
        patch.setattr(archive.os, "ftruncate", lambda *_: os.fstat(-1))
        with pytest.raises(ArchiveFailed, match="Bad file descriptor; nothing is deleted"):
            write(2, fails=True)
    write(3)
    files.close_file()
    unfinished, finished = files_of(tmp_path)
    assert unfinished.name.endswith(".part")
    assert [record["number"] for path in (unfinished, finished) for record in records_of(path)] == [1, 3]


def test_what_a_killed_erasure_leaves_is_no_part_of_the_archive(tmp_path: Path) -> None:
    files = Archive(tmp_path)
    with files.batch() as write:
        write({"kind": "job", "owner": "anna", "number": 1})
        write({"kind": "job", "owner": "ben", "number": 2})
    files.close_file()
    (path,) = files_of(tmp_path)
    left = path.with_name(f".{path.name}")
    left.write_bytes(path.read_bytes()[:-9])
    assert files_of(tmp_path) == [path]
    assert archive.erase(path, "anna") == 1
    assert list(tmp_path.iterdir()) == [path]


def command(folder: Path, *arguments: str, code: int = 0) -> list[str]:
    """Run `qonduit archive`, and return the lines of its output."""
    done = CliRunner().invoke(
        archive_commands.archive, [arguments[0], "--retention-archive", str(folder), *arguments[1:]]
    )
    assert done.exit_code == code, done.output
    return done.output.splitlines()


def test_the_commands_list_show_and_erase(old: Database, tmp_path: Path) -> None:
    (first,) = ended(old, 1, caller="anna", name="bell")
    (second,) = ended(old, 1, caller="bob")
    sweep(old, tmp_path)
    lines = command(tmp_path, "list")
    assert [line.split()[0] for line in lines] == [str(first), str(second)]
    assert "  succeeded  " in lines[0]
    assert lines[0].endswith("IBM/aer_simulator  anna  bell")
    (only,) = command(tmp_path, "list", "--owner", "bob", "--json")
    assert json.loads(only)["job"]["id"] == second
    shown = [json.loads(line) for line in command(tmp_path, "show", str(first))]
    assert shown[0]["job"]["name"] == "bell"
    assert {record["owner"] for record in shown} == {"anna"}
    assert [record["kind"] for record in shown][-2:] == ["result", "deployment"]
    damaged = tmp_path / "jobs-19990101T000000000000Z-00000000.jsonl.gz"
    damaged.write_bytes(gzip.compress(b"{}" * 99)[:-9])
    for arguments in (["list"], ["show", str(first)]):
        report, *rest = command(tmp_path, *arguments, code=1)
        assert report.endswith("is damaged: Compressed file ended before the end-of-stream marker was reached")
        assert rest == command(tmp_path, *arguments, code=1)[1:]
        assert len(rest) == (2 if arguments == ["list"] else len(shown))
    damaged.unlink()
    assert "QASM" in shown[-1]["deployment"]["programs"][0]["quantum_circuit"]
    (unknown,) = command(tmp_path, "show", "4711", code=1)
    assert unknown.endswith("does not contain job 4711")
    assert command(tmp_path, "erase", "anna") == [f"removed {len(shown)} records of anna"]
    assert "anna" not in "".join(gzip.decompress(path.read_bytes()).decode() for path in files_of(tmp_path))
    assert command(tmp_path, "list") == lines[1:]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.gz")} == {0o600}
    assert "set QONDUIT_RETENTION_ARCHIVE" in command(Path(), "list", "--retention-archive", "", code=1)[0]
