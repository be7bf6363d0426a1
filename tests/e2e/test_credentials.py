# SPDX-License-Identifier: Apache-2.0
"""Credentials with a provider of another package: how they reach its process, and that they are written nowhere."""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.message import Message

from qonduit.v1 import credential_service_pb2 as credential_calls
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2_grpc import CredentialServiceStub
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit.v1.system_service_pb2 import GetServerInfoRequest, ListWorkersRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_server.encryption import key_ring
from tests.benchmarks.programs import BELL
from tests.contract.rpc_fixture import until
from tests.server_process import Server, serving
from tests.vendor_provider import PREFIX, install

PATIENCE: Final = 100.0
RUNNING, FAILED = JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_FAILED
SUCCEEDED, CANCELLED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_CANCELLED


@dataclass
class Vendor:
    """A server with the provider VENDOR, and a client that keeps everything that it receives."""

    server: Server
    folder: Path
    channel: grpc.Channel
    received: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.jobs, self.results = JobServiceStub(self.channel), ResultServiceStub(self.channel)
        self.credentials, self.system = CredentialServiceStub(self.channel), SystemServiceStub(self.channel)

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'q.sqlite3'}"

    @property
    def key_file(self) -> Path:
        return self.folder / "keys"

    def note(self, message: Message) -> Any:
        """Keep a response, and return it."""
        self.received += [str(message), repr(message.SerializeToString())]
        return message

    def refused(self, call: Any, request: Message) -> str:
        """Make a call that must be refused; keep the error, and return its code."""
        with pytest.raises(grpc.RpcError) as raised:
            call(request, timeout=PATIENCE)
        error: Any = raised.value
        self.received += [str(error), repr(error.trailing_metadata()), repr(error)]
        return str(error.code().name)

    def store(self, name: str, secret: str) -> int:
        """Store a credential; return its id."""
        listed = ProviderServiceStub(self.channel).ListProviders(
            ListProvidersRequest(filter="name = VENDOR"), timeout=PATIENCE
        )
        (provider,) = self.note(listed).providers
        made = Credential(name=name, provider_id=provider.id)
        request = credential_calls.CreateCredentialRequest(credential=made, secret=secret)
        return int(self.note(self.credentials.CreateCredential(request, timeout=PATIENCE)).credential.id)

    def request(self, device: str, text: str = BELL, name: str = "", **fields: Any) -> calls.RunJobRequest:
        request = calls.RunJobRequest(job=Job(shots=10, name=name), device=device, **fields)
        language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        request.deployment.programs.add(quantum_circuit=text, assembler_language=language)
        return request

    def run(self, device: str, **fields: Any) -> Job:
        """Run a job to its end; keep its events and results."""
        request = self.request(f"VENDOR/{device}", **fields)
        request.partial_results = request.queue_updates = request.final_results = True
        *_, last = map(self.note, self.jobs.RunJob(request, timeout=PATIENCE))
        job = last.event.state_change.job
        self.note(self.jobs.GetJob(calls.GetJobRequest(id=job.id), timeout=PATIENCE))
        self.note(self.jobs.ListJobEvents(calls.ListJobEventsRequest(job_id=job.id), timeout=PATIENCE))
        return job

    def metadata(self, job: Job) -> dict[str, Any]:
        """Return the metadata of a job's result."""
        found = self.results.ListResults(ListResultsRequest(job_id=job.id), timeout=PATIENCE)
        (result,) = self.note(found).results
        return dict(result.meta_data)

    def start(self, device: str, **fields: Any) -> int:
        """Queue a job; return its id once it runs."""
        request = self.request(f"VENDOR/{device}", **fields)
        create = calls.CreateJobRequest.FromString(request.SerializeToString())
        job_id = int(self.note(self.jobs.CreateJob(create, timeout=PATIENCE)).job.id)
        self.worker_of(job_id)
        return job_id

    def worker_of(self, job_id: int, *, other_than: int = 0) -> int:
        """Return the process that runs a job, once there is one."""
        found: list[int] = []

        def runs() -> bool:
            workers = self.note(self.system.ListWorkers(ListWorkersRequest(), timeout=PATIENCE)).workers
            found[:] = [each.pid for each in workers if each.job_id == job_id and each.pid not in (0, other_than)]
            return bool(found)

        until(runs)
        return found[0]

    def cancel(self, job_id: int) -> None:
        """Cancel a running job, and wait for its end."""
        self.note(self.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE))
        *_, last = map(self.note, self.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=PATIENCE))
        assert last.event.state_change.to_state == CANCELLED

    def command(self, *arguments: str) -> str:
        """Run a command of the operator on the server's machine; return its output."""
        environment = {"QONDUIT_CREDENTIAL_KEY_FILE": str(self.key_file), "QONDUIT_DATABASE": self.database}
        done = subprocess.run(
            [sys.executable, "-m", "qonduit_server", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        self.received += [done.stdout, done.stderr]
        return done.stdout

    def processes(self) -> dict[str, bytes]:
        """Return the arguments and the environment of each process of the server."""
        found = {}
        for pid in self.server.family():
            for name in ("cmdline", "environ"):
                try:
                    found[f"{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
                except ProcessLookupError:
                    continue
                except FileNotFoundError:
                    continue
        return found


@contextmanager
def serving_vendor(folder: Path, environment: dict[str, str] | None = None, **settings: str) -> Iterator[Vendor]:
    """Serve IBM and VENDOR with debug log, cache and temporary files in a folder."""
    for name in ("cache", "temporary"):
        (folder / name).mkdir(exist_ok=True)
    variables = install(folder / "site") | {"TMPDIR": str(folder / "temporary")} | (environment or {})
    defaults = {"providers": "IBM,VENDOR", "workers": "2", "log_level": "debug", "max_attempts": "2"}
    if "QONDUIT_CREDENTIAL_KEYS" not in variables:
        key_ring.create(folder / "keys", "first")
        defaults["credential_key_file"] = str(folder / "keys")
    with (
        serving(
            f"sqlite:///{folder / 'q.sqlite3'}",
            log=folder / "log.jsonl",
            environment=variables,
            translation_cache=str(folder / "cache"),
            **(defaults | settings),
        ) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        yield Vendor(server, folder, channel)


def forms(marker: str) -> list[bytes]:
    """Return a text, its hexadecimal form, and its base64 at each offset."""
    data = marker.encode()
    found = [data, data.hex().encode(), data.hex().upper().encode()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data)
        found.append(encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6])
    return found


def occurrences(places: dict[str, bytes], marker: str) -> list[str]:
    """Return the places that contain a text in one of its forms."""
    pattern = re.compile(b"|".join(map(re.escape, forms(marker))))
    return [name for name, data in places.items() if pattern.search(data)]


def test_a_planted_secret_is_found_nowhere(tmp_path: Path) -> None:
    marker, control = secrets.token_hex(12), secrets.token_hex(12)

    def planted(way: str, prefix: str = PREFIX) -> str:
        return f"{prefix}{way}-{marker}"

    running: dict[str, bytes] = {}
    with serving_vendor(tmp_path, {"CONTROL": control}) as vendor:
        stored = vendor.store("lab", planted("stored"))
        # To success, with names that hold the control in each form.
        for form in forms(control):
            assert vendor.run("simulator", name=form.decode(), credential_id=stored).state == SUCCEEDED
        assert vendor.run("simulator", credential=planted("own")).state == SUCCEEDED
        chatty = vendor.run("chatty", credential=planted("chatty"))
        assert "[credential]" in vendor.metadata(chatty)["request"]
        # To failure: of the provider, of an SDK, of the process, of the program, of the token.
        for device, reason in (("echo", "REJECTED"), ("faulty", "INTERNAL"), ("crash", "WORKER_DIED")):
            failed = vendor.run(device, credential=planted(device))
            assert (failed.state, failed.failure.reason) == (FAILED, reason)
        assert vendor.run("simulator", text="OPENQASM 2.0; x", credential=planted("program")).state == FAILED
        rejected = vendor.run("simulator", credential=planted("rejected", prefix="not-a-token-"))
        assert rejected.failure.reason == "TOKEN_REJECTED"
        assert "the token [credential] is invalid" in rejected.failure.message
        # Refused requests.
        for request, code in (
            (vendor.request("IBM/aer_simulator", credential=planted("refused")), "INVALID_ARGUMENT"),
            (vendor.request("VENDOR/simulator", credential=planted("both"), credential_id=stored), "INVALID_ARGUMENT"),
            (vendor.request("VENDOR/simulator", credential=planted("long") * 200), "INVALID_ARGUMENT"),
            (vendor.request("VENDOR/none", credential=planted("device")), "NOT_FOUND"),
            (vendor.request("VENDOR/simulator", credential=planted("id"), request_id=marker[:8]), "INVALID_ARGUMENT"),
        ):
            create = calls.CreateJobRequest.FromString(request.SerializeToString())
            assert vendor.refused(vendor.jobs.CreateJob, create) == code
        again = credential_calls.CreateCredentialRequest(
            credential=Credential(name="lab", provider_id=1), secret=planted("twice")
        )
        assert vendor.refused(vendor.credentials.CreateCredential, again) in ("ALREADY_EXISTS", "INVALID_ARGUMENT")
        validate = vendor.request("VENDOR/simulator", credential=planted("validated"), validate_only=True)
        list(map(vendor.note, vendor.jobs.RunJob(validate, timeout=PATIENCE)))
        # Cancelled, and killed.
        for way in ("cancelled", "killed"):
            job_id = vendor.start("endless", credential=planted(way))
            if way == "killed":
                pid = vendor.worker_of(job_id)
                os.kill(pid, signal.SIGKILL)
                vendor.worker_of(job_id, other_than=pid)
            running |= vendor.processes()
            vendor.cancel(job_id)
        # Rotated and replaced while the server runs.
        vendor.command("credential-key", "create", "second")
        assert "rotated 1 credentials; 0 cannot" in vendor.command("credential-key", "rotate")
        vendor.command("credential-key", "remove", "first")
        assert "second" in vendor.command("credential-key", "list")
        assert vendor.run("simulator", credential_id=stored).state == SUCCEEDED
        change = credential_calls.UpdateCredentialRequest(id=stored, secret=planted("replaced"))
        vendor.note(vendor.credentials.UpdateCredential(change, timeout=PATIENCE))
        rerun = vendor.jobs.RerunJob(calls.RerunJobRequest(id=chatty.id, credential=planted("rerun")), timeout=PATIENCE)
        watch = calls.WatchJobRequest(job_id=vendor.note(rerun).job.id)
        *_, last = map(vendor.note, vendor.jobs.WatchJob(watch, timeout=PATIENCE))
        assert last.event.state_change.to_state == SUCCEEDED
        vendor.note(vendor.credentials.ListCredentials(credential_calls.ListCredentialsRequest(), timeout=PATIENCE))
        vendor.note(vendor.system.GetServerInfo(GetServerInfoRequest(), timeout=PATIENCE))
        vendor.note(vendor.jobs.ListJobs(calls.ListJobsRequest(page_size=100), timeout=PATIENCE))
        assert "keys for credentials" in vendor.command("doctor", "--json")
        deleted = credential_calls.DeleteCredentialRequest(id=stored)
        vendor.note(vendor.credentials.DeleteCredential(deleted, timeout=PATIENCE))
        running |= vendor.processes()
        # With the log and the shared memory of the database, before it is closed.
        files = {f"open {path.name}": path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        received = {f"message {place}": text.encode() for place, text in enumerate(vendor.received)}
    files |= {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    places = files | received | running
    assert {"q.sqlite3", "log.jsonl", "open q.sqlite3-wal"} <= set(files)
    # The search finds what may be there: names of jobs in the database and in messages, a variable of the server.
    found = occurrences(places, control)
    assert {"q.sqlite3"} <= set(found)
    assert any(name.startswith("message") for name in found)
    assert any(name.endswith("/environ") for name in found)
    for form in forms(control):
        assert form in files["q.sqlite3"]
    assert b"jobs" in files["log.jsonl"]
    assert occurrences(places, marker) == []


def test_a_credential_reaches_one_process_for_one_job(tmp_path: Path) -> None:
    with serving_vendor(tmp_path) as vendor:
        stored = vendor.store("lab", f"{PREFIX}stored")
        facts = [vendor.metadata(vendor.run("simulator", credential_id=stored)) for _ in range(3)]
        assert len({each["pid"] for each in facts}) == 3
        for each in facts:
            assert (each["dumpable"], each["core_limit"]) == (0, 0)


def test_keys_from_the_environment_are_not_inherited_by_other_processes(tmp_path: Path) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    with serving_vendor(tmp_path, {"QONDUIT_CREDENTIAL_KEYS": f"first {key}"}) as vendor:
        assert vendor.run("simulator", credential=f"{PREFIX}own").state == SUCCEEDED
        processes = vendor.processes()
        holders = [name for name in occurrences(processes, key) if not name.startswith(f"{vendor.server.process.pid}/")]
        assert len(processes) > 4
        assert holders == []


def test_the_log_of_a_process_with_a_credential_is_redacted(tmp_path: Path) -> None:
    token = f"{PREFIX}{secrets.token_hex(8)}"
    with serving_vendor(tmp_path) as vendor:
        failed = vendor.run("faulty", credential=token)
        assert failed.failure.message.startswith("ValueError: '[credential]' in https://vendor.invalid")
        vendor.run("chatty", credential=token)
    log = (tmp_path / "log.jsonl").read_text()
    assert token not in log
    assert "ValueError: '[credential]' in https://vendor.invalid/jobs?key=[credential]" in log
    assert f"using '{'*' * len(token)}' in https" in log
