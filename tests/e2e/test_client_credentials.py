# SPDX-License-Identifier: Apache-2.0
"""Credentials in the Python clients and on the command line, with a server and a provider that takes them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qonduit_client import Client
from qonduit_client.errors import AlreadyExists, JobFailed, NotFound, PreconditionFailed
from tests.benchmarks.programs import BELL
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.command_line import QONDUIT, qonduit
from tests.e2e.test_credentials import PATIENCE, Vendor, serving_vendor
from tests.vendor_provider import PREFIX

SECRET = f"{PREFIX}of-the-client"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with serving_vendor(tmp_path_factory.mktemp("vendor")) as found:
        yield found


@pytest.fixture(params=BOTH_CLIENTS)
def client(vendor: Vendor, request: pytest.FixtureRequest) -> Iterator[Any]:
    connect: Connect = BOTH_CLIENTS[request.param]
    with connect(vendor.server.target) as found:
        for each in found.credentials.list():
            found.credentials.delete(each)
        yield found


def test_a_client_stores_lists_replaces_and_deletes_credentials(client: Any) -> None:
    made = client.credentials.create("lab", "VENDOR", SECRET)
    assert made.name == "lab"
    assert client.credentials.get("lab") == client.credentials.get(made.id) == made
    listed = client.credentials.list()
    assert list(listed) == [made]
    assert str(listed).splitlines()[0].split() == ["id", "name", "provider", "id", "created", "replaced", "project"]
    assert SECRET not in str(listed)
    with pytest.raises(AlreadyExists, match="you have a credential lab already"):
        client.credentials.create("lab", "VENDOR", SECRET)
    with pytest.raises(NotFound, match="provider 'NONE' does not exist; known providers: IBM, VENDOR"):
        client.credentials.create("other", "NONE", SECRET)
    assert client.credentials.update("lab", f"{SECRET}-2").id == made.id
    client.credentials.delete("lab")
    with pytest.raises(NotFound, match="credential 'lab' does not exist"):
        client.credentials.get("lab")


def test_a_client_runs_jobs_with_a_credential_in_each_form(client: Any) -> None:
    stored = client.credentials.create("lab", "VENDOR", SECRET)
    for credential in (stored, stored.id, SECRET):
        job = client.run(BELL, device="VENDOR/simulator", credential=credential)
        assert job.result(timeout=PATIENCE).counts
        assert client.check(BELL, device="VENDOR/simulator", credential=credential).job.device == "VENDOR/simulator"
    with pytest.raises(PreconditionFailed, match="the server has erased: set credential or credential_id"):
        client.rerun(job.id)
    assert client.rerun(job.id, credential=stored).result(timeout=PATIENCE).counts
    rejected = client.run(BELL, device="VENDOR/simulator", credential="not-a-token")
    with pytest.raises(JobFailed, match=r"the token \[credential\] is invalid"):
        rejected.result(timeout=PATIENCE)
    with pytest.raises(PreconditionFailed, match="VENDOR requires a credential: set credential_id"):
        client.run(BELL, device="VENDOR/simulator")
    with pytest.raises(TypeError, match="got a bytes") as raised:
        client.run(BELL, device="VENDOR/simulator", credential=SECRET.encode())
    assert SECRET not in str(raised.value)


def test_a_credential_of_a_project_runs_its_jobs(client: Any) -> None:
    project = client.projects.create(f"lab-{uuid.uuid4().hex[:8]}").name
    shared = client.credentials.create("lab", "VENDOR", SECRET, project=project)
    assert client.credentials.get("lab") == shared
    own = client.credentials.create("lab", "VENDOR", SECRET)
    assert client.credentials.get("lab") == client.credentials.get("lab", project="") == own
    assert client.credentials.get("lab", project=project) == shared
    assert list(client.credentials.list(f"project = {project}")) == [shared]
    with pytest.raises(NotFound, match="credential 'lab' does not exist"):
        client.credentials.get("lab", project="other")
    job = client.run(BELL, device="VENDOR/simulator", credential=shared, project=project)
    assert job.result(timeout=PATIENCE).counts
    assert client.rerun(job.id).result(timeout=PATIENCE).counts
    with pytest.raises(NotFound, match="credential"):
        client.run(BELL, device="VENDOR/simulator", credential=shared)
    client.credentials.delete(shared)


def test_estimators_and_samplers_take_a_credential(client: Any) -> None:
    stored = client.credentials.create("lab", "VENDOR", SECRET)
    bell = BELL.partition("measure")[0]
    estimate = client.estimate(bell, "Z0*Z1", device="VENDOR/simulator", exact=True, credential=stored)
    assert abs(float(estimate.values[0]) - 1.0) < 1e-9
    assert client.sample(BELL, device="VENDOR/simulator", shots=100, credential=stored.id)


def call(vendor: Vendor, *arguments: str, text: str = "") -> tuple[int, str, str]:
    """Run a command as a process in a pipe; return its exit code, standard output and standard error."""
    done = qonduit("--server", vendor.server.target, *arguments, text=text)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def bell(tmp_path: Path) -> str:
    path = tmp_path / "bell.qasm"
    path.write_text(BELL)
    return str(path)


def test_the_command_line_stores_and_uses_credentials_without_secrets_as_arguments(
    vendor: Vendor, bell: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    code, written, errors = call(vendor, "credential", "create", "cli", "--provider", "VENDOR", text=f"{SECRET}\n")
    assert (code, errors) == (0, "")
    assert "qonduit run --credential cli" in written
    code, written, _ = call(
        vendor, "credential", "create", "cli2", "--provider", "VENDOR", "--secret-file", str(file), "--json"
    )
    assert (code, json.loads(written)["name"]) == (0, "cli2")
    code, written, _ = call(vendor, "credential", "list")
    rows = [line.split() for line in written.splitlines()]
    assert rows[0] == ["ID", "NAME", "PROVIDER", "CREATED", "REPLACED"]
    assert {(row[1], row[2]) for row in rows[1:]} >= {("cli", "VENDOR"), ("cli2", "VENDOR")}
    device = ("--device", "VENDOR/simulator")
    for option in (("--credential", "cli"), ("--credential-file", str(file))):
        code, written, errors = call(vendor, "run", bell, *device, *option, "--json")
        assert code == 0, errors
    job_id = json.loads(written.splitlines()[-1])["job"]["id"]
    code, _, errors = call(vendor, "rerun", str(job_id))
    assert code == 4
    assert "the server has erased" in errors
    assert call(vendor, "rerun", str(job_id), "--credential", "cli")[0] == 0
    project = ("--project", f"cli-{uuid.uuid4().hex[:8]}")
    assert call(vendor, "project", "create", project[1])[0] == 0
    code, written, _ = call(vendor, "credential", "create", "shared", "--provider", "VENDOR", *project, text=SECRET)
    assert (code, f"qonduit run {' '.join(project)} --credential shared" in written) == (0, True)
    assert project[1] in call(vendor, "credential", "list")[1]
    assert call(vendor, "run", bell, *device, *project, "--credential", "shared")[0] == 0
    assert call(vendor, "credential", "delete", "shared")[0] == 3
    assert call(vendor, "credential", "update", "shared", *project, text=SECRET)[0] == 0
    assert call(vendor, "credential", "delete", "shared", *project)[0] == 0
    assert call(vendor, "credential", "update", "cli", text="not-a-token")[:2] == (
        0,
        "credential cli: secret replaced\n",
    )
    code, _, errors = call(vendor, "run", bell, *device, "--credential", "cli")
    assert code == 1
    assert "the token [credential] is invalid" in errors
    code, written, errors = call(vendor, "credential", "delete", "cli", "none", "cli2")
    assert (code, written) == (3, "credential cli: deleted\ncredential cli2: deleted\n")
    assert "credential 'none' does not exist" in errors


def test_wrong_uses_of_the_command_line_are_explained(vendor: Vendor, bell: str) -> None:
    for arguments, text, message in (
        (("credential", "create", "x", "--provider", "VENDOR"), "", "the secret is empty"),
        (("credential", "create", "x", "--provider", "VENDOR", "--secret-file", "/none"), "", "No such file"),
        (("run", bell, "--credential", "x", "--credential-file", "y"), "", "use one of --credential and"),
    ):
        code, _, errors = call(vendor, *arguments, text=text)
        assert code == 2
        assert message in errors
    code, _, errors = call(vendor, "run", bell, "--device", "VENDOR/simulator")
    assert code == 4
    assert "qonduit credential create NAME --provider VENDOR" in errors
    code, _, errors = call(vendor, "run", bell, "--device", "VENDOR/simulator", "--credential", "missing")
    assert code == 3


def test_a_terminal_prompts_for_the_secret_and_does_not_show_it(vendor: Vendor) -> None:
    command = [*QONDUIT, "--server", vendor.server.target]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "credential", "create", "typed", "--provider", "VENDOR"], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Secret: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, f"{SECRET}\n".encode())
        with suppress(OSError):  # the terminal is closed with the process
            while data := os.read(ours, 1024):
                shown += data
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    assert SECRET.encode() not in shown
    assert b"credential typed: use it with" in shown
    assert call(vendor, "credential", "delete", "typed")[0] == 0


def test_an_operator_hands_over_credentials_with_the_key_of_the_server(vendor: Vendor) -> None:
    with Client(vendor.server.target) as client:
        client.credentials.create("handed-over", "VENDOR", SECRET)
    adopt = ("adopt", "anonymous", "--to", "ben", "--database", vendor.database)
    done = qonduit(*adopt)
    assert done.returncode == 1
    assert "the server does not have the key" in done.stderr
    assert "stay with anonymous" in done.stderr
    assert "(--credential-key-file)" in done.stderr
    done = qonduit(*adopt, "--credential-key-file", str(vendor.key_file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "credentials, 0 memberships of anonymous to ben" in done.stdout
    with Client(vendor.server.target) as client:
        assert list(client.credentials.list()) == []
