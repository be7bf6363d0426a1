# SPDX-License-Identifier: Apache-2.0
"""Projects with real tokens and two servers on one PostgreSQL, through both Python clients and the command line."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from qonduit_client import Client
from qonduit_client.errors import AlreadyExists, InvalidRequest, NotFound, PreconditionFailed, QonduitError, Refused
from qonduit_client.named_servers import NamedServer
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.principal import Role
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.command_line import qonduit
from tests.contract.rpc_fixture import BELL, until
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

PATIENCE: Final = 100.0
PEOPLE: Final = {
    **dict.fromkeys(("anna", "ben", "vera", "carl"), Role.USER),
    "olga": Role.OPERATOR,
    "adam": Role.ADMIN,
}
#: A job that waits.
LATER: Final = {"not_before": datetime.now(UTC) + timedelta(days=1)}


class Lab(NamedTuple):
    """Two servers, and people with tokens. Only admins create projects at the second server."""

    here: str
    there: str
    tokens: dict[str, str]
    connect: Connect = Client

    def client(self, name: str, target: str = "", **options: Any) -> Any:
        return self.connect(target or self.here, token=self.tokens[name], **options)

    def cli(self, name: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        variables = {"QONDUIT_SERVER": self.here, "QONDUIT_TOKEN": self.tokens[name], **environment}
        done = qonduit(*arguments, **variables)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgresqlServer, postgresql_template: str
) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("projects")
    tokens = {name: token_file.create(folder / "tokens", name, role, None)[0] for name, role in PEOPLE.items()}
    database = postgresql.new_database(postgresql_template)
    settings = {"providers": "IBM", "token_file": str(folder / "tokens"), "workers": "1"}
    with (
        serving(postgresql.url(database), **settings) as here,
        serving(postgresql.url(database), **settings, project_creation="admin") as there,
    ):
        yield Lab(here.target, there.target, tokens)
    postgresql.drop_database(database)


@pytest.fixture(params=BOTH_CLIENTS)
def lab(servers: Lab, request: pytest.FixtureRequest) -> Lab:
    return servers._replace(connect=BOTH_CLIENTS[request.param])


@pytest.fixture
def project(servers: Lab) -> str:
    """Return the name of a new project: Anna owns it, Ben is a member, Vera a viewer, Carl is not in it."""
    name = f"lab-{uuid.uuid4().hex[:8]}"
    with Client(servers.here, token=servers.tokens["anna"]) as client:
        client.projects.create(name, "Pulses")
        client.projects.set_member(name, "ben")
        client.projects.set_member(name, "vera", "viewer")
    return name


def outcome(action: Any) -> str:
    """Return the name of the error that an action raises; "" without one."""
    try:
        action()
    except QonduitError as error:
        return type(error).__name__
    return ""


def test_a_client_manages_a_project_and_its_members(lab: Lab, project: str) -> None:
    with lab.client("anna") as anna, lab.client("ben") as ben:
        assert (anna.projects.get(project).created_by, anna.projects.get(project).description) == ("anna", "Pulses")
        assert project in [each.name for each in ben.projects.list()]
        members = anna.projects.members(project)
        assert {each.user: each.role for each in members} == {"anna": 3, "ben": 2, "vera": 1}
        assert [line.split()[:2] for line in str(members).splitlines()] == [
            ["user", "role"],
            ["anna", "owner"],
            ["ben", "member"],
            ["vera", "viewer"],
        ]
        assert project in str(anna.projects.list())
        with pytest.raises(AlreadyExists, match="choose another name"):
            ben.projects.create(project)
        with pytest.raises(Refused, match="only an owner may change project"):
            ben.projects.update(project, "Other")
        with pytest.raises(ValueError, match="role must be one of viewer, member, owner, got 'chief'"):
            anna.projects.set_member(project, "carl", "chief")
        assert anna.projects.update(project, "Qubits").description == "Qubits"
        with pytest.raises(PreconditionFailed, match="last owner"):
            anna.projects.remove_member(project, "anna")
        assert anna.projects.set_member(project, "ben", "owner", weight=2.5).role == 3
        (ben_again,) = [each for each in anna.projects.members(project) if each.user == "ben"]
        assert (ben_again.role, ben_again.weight) == (3, 2.5)
        with pytest.raises(InvalidRequest, match=r"member\.weight"):
            anna.projects.set_member(project, "ben", weight=1000)
        ben.projects.remove_member(project, "anna")
        with pytest.raises(NotFound):
            anna.projects.get(project)
        ben.projects.delete(project)
        with pytest.raises(NotFound):
            ben.projects.members(project)


def test_each_role_can_do_what_it_permits(lab: Lab, project: str) -> None:
    with ExitStack() as stack:
        people = {name: stack.enter_context(lab.client(name)) for name in PEOPLE}
        created = {
            name: outcome(lambda each=each: each.run(BELL, shots=10, project=project, schedule=LATER))
            for name, each in people.items()
        }
        outsiders = dict.fromkeys(("carl", "olga", "adam"), "NotFound")
        assert created == {"anna": "", "ben": "", "vera": "Refused", **outsiders}
        job = people["ben"].run(BELL, shots=10, project=project, schedule=LATER)
        assert (job.job().project, job.job().executed_by) == (project, "ben")
        read = {name: outcome(lambda each=each: each.job(job.id).job()) for name, each in people.items()}
        assert read == {**dict.fromkeys(PEOPLE, ""), "carl": "NotFound"}
        listed = {name: len(list(each.jobs(project=project))) for name, each in people.items()}
        assert not [job for job in people["anna"].jobs(project="") if job.project]
        assert listed == {"anna": 3, "ben": 3, "vera": 3, "carl": 0, "olga": 3, "adam": 3}
        rerun = {name: outcome(lambda each=each: each.rerun(job.id)) for name, each in people.items()}
        assert (rerun["vera"], rerun["carl"], rerun["olga"]) == ("Refused", "NotFound", "NotFound")
        cancelled = {name: outcome(each.job(job.id).cancel) for name, each in people.items() if name != "adam"}
        assert cancelled == {"anna": "", "ben": "", "vera": "Refused", "carl": "NotFound", "olga": ""}
        changed = {name: outcome(lambda each=each: each.projects.update(project, "x")) for name, each in people.items()}
        refused = {"ben": "Refused", "vera": "Refused", "carl": "NotFound", "olga": "NotFound"}
        assert changed == {"anna": "", **refused, "adam": ""}
        assert people["anna"].cancel_jobs(project=project).count >= 2


def test_jobs_and_deployments_belong_to_the_project_of_the_client(lab: Lab, project: str) -> None:
    with lab.client("ben", project=project) as ben:
        stored = ben.deploy(BELL, name="shared")
        assert stored.project == project
        runs = [
            ben.run(BELL, shots=10),
            ben.run(deployment_id=stored.id, shots=10),
            ben.submit_sample(BELL, shots=10),
            ben.submit_estimate(BELL, "Z0", shots=10),
        ]
        assert {each.job().project for each in runs} == {project}
        assert ben.check(BELL, shots=10).job.project == project
        for each in runs:
            each.wait(PATIENCE)
        # On one stream with its results.
        assert ben.sample(BELL, shots=10, name="streamed").shots == 10
        assert [each.project for each in ben.jobs('name = "streamed"', limit=1)] == [project]
        own = ben.run(BELL, shots=10, project="")
        assert (own.job().project, ben.deploy(BELL, project="").project) == ("", "")
        assert sum(own.result(timeout=PATIENCE).counts.values()) == 10
        with lab.client("anna") as anna:
            assert anna.rerun(runs[0].id).job().project == project
            assert anna.job(runs[0].id).result(timeout=PATIENCE).counts
            with pytest.raises(NotFound):
                anna.job(own.id).job()


def test_the_project_of_a_named_server_is_the_default(lab: Lab, project: str) -> None:
    named = NamedServer("lab", lab.here, project=project)
    with lab.connect(named, token=lab.tokens["anna"]) as client:
        assert client.run(BELL, shots=10, schedule=LATER).job().project == project
    with lab.connect(named, token=lab.tokens["anna"], project="") as client:
        assert client.run(BELL, shots=10, schedule=LATER).job().project == ""


def test_only_admins_create_projects_where_the_setting_says_so(lab: Lab) -> None:
    name = f"new-{uuid.uuid4().hex[:8]}"
    with lab.client("anna", lab.there) as anna, lab.client("adam", lab.there) as adam:
        with pytest.raises(Refused, match="project_creation = admin"):
            anna.projects.create(name)
        adam.projects.create(name)
        adam.projects.set_member(name, "anna", "owner")
        adam.projects.remove_member(name, "adam")
        assert anna.projects.get(name).role == 3
        anna.projects.delete(name)


def test_a_change_of_members_reaches_the_other_server(lab: Lab, project: str) -> None:
    with (
        lab.client("anna") as anna,
        lab.client("vera", lab.there) as vera,
        lab.client("ben", lab.there) as ben,
    ):
        job = anna.run(BELL, shots=10, project=project, schedule=LATER)
        for each in (vera, ben):
            until(lambda each=each: outcome(each.job(job.id).job) == "")  # the server reads new projects within 0.5 s
        streams = {each: each.job(job.id).events(timeout=PATIENCE) for each in (vera, ben)}
        for stream in streams.values():
            assert next(iter(stream)).created.project == project
        anna.projects.remove_member(project, "vera")
        with pytest.raises(NotFound, match=f"job {job.id}"):
            for _ in streams[vera]:
                pass
        assert outcome(vera.job(job.id).job) == "NotFound"
        assert project not in [each.name for each in vera.projects.list()]
        job.cancel()
        states = [event.state_change.to_state for event in streams[ben] if event.HasField("state_change")]
        assert states


def test_a_request_id_sent_to_two_servers_at_once_creates_one_job(servers: Lab, project: str) -> None:
    start = threading.Barrier(2)
    with servers.client("ben") as here, servers.client("ben", servers.there) as there:
        until(lambda: outcome(lambda: there.deploy(BELL, project=project)) == "")

        def create(client: Client, owner: str, request: str) -> int | None:
            start.wait(PATIENCE)
            try:
                return client.run(BELL, shots=10, project=owner, request_id=request, schedule=LATER).id
            except AlreadyExists:
                return None

        with ThreadPoolExecutor(2) as pool:
            for other in (project, "") * 10:
                request = str(uuid.uuid4())
                both = [pool.submit(create, here, other, request), pool.submit(create, there, project, request)]
                found = [each.result(PATIENCE) for each in both]
                assert len({each for each in found if each is not None}) == 1
                assert (None in found) == (other != project)


def test_the_command_line_manages_and_uses_projects(servers: Lab, tmp_path: Path) -> None:
    name, cli = f"cli-{uuid.uuid4().hex[:8]}", servers.cli
    bell = tmp_path / "bell.qasm"
    bell.write_text(BELL)
    code, written, errors = cli("anna", "project", "create", name, "--description", "Of the shell")
    assert (code, errors) == (0, "")
    assert f"qonduit run --project {name}" in written
    code, written, _ = cli("anna", "project", "add", name, "ben", "vera", "--role", "viewer")
    assert (code, written) == (0, f"ben: viewer of project {name}\nvera: viewer of project {name}\n")
    assert cli("anna", "project", "add", name, "ben")[0] == 0
    code, written, _ = cli("ben", "project", "members", name, "--json")
    assert {each["user"]: each["role"] for each in map(json.loads, written.splitlines())} == {
        "anna": "PROJECT_ROLE_OWNER",
        "ben": "PROJECT_ROLE_MEMBER",
        "vera": "PROJECT_ROLE_VIEWER",
    }
    rows = [line.split() for line in cli("ben", "project", "list")[1].splitlines()]
    assert rows[0] == ["PROJECT", "ROLE", "CREATED", "BY", "DESCRIPTION"]
    assert [row[:2] for row in rows if row[0] == name] == [[name, "member"]]
    assert cli("anna", "project", "update", name, "--description", "New")[0] == 0
    shown = cli("vera", "project", "show", name)[1]
    assert "New" in shown
    assert [line.split()[:2] for line in shown.splitlines()[3:]] == [
        ["USER", "ROLE"],
        ["anna", "owner"],
        ["ben", "member"],
        ["vera", "viewer"],
    ]
    code, written, errors = cli("ben", "run", str(bell), "--project", name, "--shots", "10", "--detach")
    assert code == 0, errors
    job = written.strip()
    assert cli("ben", "run", str(bell), "--shots", "10", "--detach")[0] == 0
    table = cli("ben", "jobs")[1].splitlines()
    assert "PROJECT" in table[0]
    assert [line.split()[0] for line in cli("vera", "jobs", "--project", name)[1].splitlines()[1:]] == [job]
    assert f"project     {name}" in cli("anna", "job", job)[1]
    assert cli("vera", "cancel", job)[0] == 4
    code, written, _ = cli("ben", "deployments", "create", str(bell), "--project", name)
    assert code == 0
    made = written.split()[1].rstrip(":")
    assert f"in project {name}" in cli("vera", "deployments", "show", made)[1]
    code, _, errors = cli("anna", "project", "delete", name)
    assert code == 4
    assert f"project {name} still owns" in errors
    assert cli("anna", "project", "remove", name, "vera")[:2] == (0, f"vera: no longer in project {name}\n")
    assert cli("vera", "project", "show", name)[0] == 3
    configuration = {"QONDUIT_CONFIG": str(tmp_path / "config.toml"), "QONDUIT_SERVER": ""}
    assert cli("ben", "config", "add", "lab", servers.here, "--project", name, **configuration)[0] == 0
    assert f"project {name}" in cli("ben", "config", "list", **configuration)[1]
    owners = {}
    for option in ((), ("--project", "")):
        code, written, errors = cli(
            "ben", "run", str(bell), "--shots", "10", "--validate-only", "--json", *option, **configuration
        )
        assert code == 0, errors
        owners[option] = json.loads(written)["job"]["project"]
    assert owners == {(): name, ("--project", ""): ""}
    assert cli("ben", "config", "add", "other", servers.here, "--project", "No", **configuration)[0] == 2
