# SPDX-License-Identifier: Apache-2.0
"""The command line with a real server and many jobs: sweeps, job groups, and imports from the previous system."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qonduit_client import Client
from qonduit_client.cli.commands import qonduit
from tests.interruptible import INTERRUPTIBLE
from tests.server_process import Server, serving

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
TURN = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
input float phi;
qubit q;
bit c;
ry(theta) q;
rz(phi) q;
c = measure q;
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one provider that accepts four programs a job."""
    folder = tmp_path_factory.mktemp("server")
    with serving(f"sqlite:///{folder / 'q.sqlite3'}", providers="IBM", workers="1", max_programs="4") as running:
        yield running


def call(server: Server, *arguments: str, text: str | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(qonduit, ["--server", server.target, *arguments], input=text)


def rows(done: Result) -> list[dict[str, str]]:
    """Return the rows of CSV on standard output."""
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture
def turn(tmp_path: Path) -> str:
    """A file with a program of two inputs."""
    path = tmp_path / "turn.qasm"
    path.write_text(TURN)
    return str(path)


def test_a_sweep_of_numbers_is_one_job(small: Server, turn: str) -> None:
    sweep = ("--sweep", "theta=0:pi:5", "--sweep", "phi=[0, 1.5]", "--seed", "11", "--shots", "2000")
    done = call(small, "run", turn, *sweep, "--output", "csv")
    assert done.exit_code == 0, done.stderr
    found = rows(done)
    assert len({row["job_id"] for row in found}) == 1
    points = {(float(row["input.theta"]), float(row["input.phi"])) for row in found}
    assert points == {(k * math.pi / 4, phi) for k in range(5) for phi in (0.0, 1.5)}
    for theta, phi in points:
        counts = {
            row["outcome"]: int(row["count"])
            for row in found
            if (float(row["input.theta"]), float(row["input.phi"])) == (theta, phi)
        }
        assert sum(counts.values()) == 2000
        assert abs(counts.get("0x1", 0) / 2000 - math.sin(theta / 2) ** 2) < 0.06
    shares = [row["count"] for row in found if row["outcome"] == "0x1" and float(row["input.theta"]) == math.pi / 2]
    assert len(set(shares)) == 2, "each point has randomness of its own, also with a seed"


def test_a_sweep_of_other_values_uses_as_few_jobs_as_possible(small: Server, tmp_path: Path) -> None:
    path = tmp_path / "flags.qasm"
    path.write_text("OPENQASM 3.0; input bit[3] flags; qubit q; bit c; if (flags[0]) U(pi, 0, 0) q; c = measure q;")
    values = [f"{number:03b}" for number in range(8)] + ["111"]
    sweep = ("run", str(path), "--sweep", f"flags={json.dumps(values)}")
    assert "9 programs in 3 jobs" in call(small, *sweep, "--validate-only").stdout
    done = call(small, *sweep, "--output", "csv")
    assert done.exit_code == 0, done.stderr
    found = rows(done)
    assert [row["input.flags"] for row in found] == values
    assert len({row["job_id"] for row in found}) == 3, "nine programs, four a job"
    assert all(row["outcome"] == hex(int(row["input.flags"][-1])) for row in found)
    assert "(flags=001)" in call(small, "result", found[1]["job_id"]).stdout


def test_a_sweep_as_a_table_and_again_with_its_request_id(small: Server, turn: str) -> None:
    again = ("--request-id", "7b0f8a52-2c86-4f5d-8d0a-6a1f3a0e1c55")
    arguments = ("run", turn, "--sweep", "theta=0:pi:3", "--input", "phi=0.5", *again)
    first, second = call(small, *arguments), call(small, *arguments)
    assert first.exit_code == second.exit_code == 0, first.stderr
    table = first.stdout.split("\n\n")[1].splitlines()
    assert table[0].split() == ["theta", "JOB", "PROGRAM", "STATE", "OUTCOMES"]
    assert [line.split()[0] for line in table[1:]] == ["0", "1.5708", "3.14159"]
    assert "0x1 100.0%" in table[3]
    assert second.stdout.split("\n\n")[1] == first.stdout.split("\n\n")[1], "the same jobs"
    job = table[1].split()[1]
    shown = call(small, "result", job).stdout.strip().splitlines()
    assert [line.split()[0] for line in shown] == [line.split()[0] for line in table]


def test_a_sweep_of_a_deployment_and_one_that_fails(small: Server, turn: str) -> None:
    with Client(small.target) as client:
        stored = client.deploy(Path(turn)).id
    done = call(small, "run", "--deployment", str(stored), "--sweep", "theta=[0]", "--sweep", "phi=[0]", "--json")
    assert done.exit_code == 0
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["points"] == [{"theta": 0, "phi": 0}]
    failed = call(small, "run", turn, "--sweep", "theta=0:1:2", "--output", "csv")
    assert failed.exit_code == 1
    assert [(row["input.theta"], row["failure"]) for row in rows(failed)] == [
        ("0.0", "MISSING_INPUT"),
        ("1.0", "MISSING_INPUT"),
    ]
    assert "--input NAME=VALUE" in failed.stderr


def test_a_sweep_validated_and_detached(small: Server, turn: str) -> None:
    sweep = ("run", turn, "--sweep", "theta=0:1:9", "--input", "phi=0")
    assert "9 points in one job" in call(small, *sweep, "--validate-only").stdout
    done = call(small, *sweep, "--detach", "--output", "csv")
    ids = [row["job_id"] for row in rows(done)]
    assert len(ids) == 1
    watched = call(small, "watch", *ids, "--output", "csv")
    assert watched.exit_code == 0, watched.stderr
    points = dict.fromkeys(row["input.theta"] for row in rows(watched))
    assert list(map(float, points)) == [k / 8 for k in range(9)]


def test_ctrl_c_in_a_sweep_prints_how_to_follow_it(small: Server, tmp_path: Path) -> None:
    path = tmp_path / "long.qasm"
    path.write_text("OPENQASM 3.0; input int n; qubit q; bit c; for int i in [0:2000] { U(1, 0, 0) q; } c = measure q;")
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "qonduit_client.cli", "run", str(path), "--sweep", "n=0:39:40"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "QONDUIT_SERVER": small.target},
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "continue.\n" in errors or "continues.\n" in errors
    assert "qonduit cancel" in errors
    assert "--request-id" in errors
    ids = errors.split("qonduit cancel ")[1].split(" --server")[0].split()
    assert call(small, "cancel", *ids).exit_code == 0
    assert call(small, "watch", *ids).exit_code in (0, 6)
    left = rows(call(small, "jobs", "--limit", "0", "--output", "csv"))
    assert {row["state"] for row in left} <= {"SUCCEEDED", "FAILED", "CANCELLED"}, (
        "a job is still running that was not named"
    )


def deployment(name: str, source: str = BELL, language: str = "QASM2") -> dict[str, Any]:
    """Return a deployment in the previous system's form."""
    return {"name": name, "programs": [{"quantumCircuit": source, "assemblerLanguage": language}]}


def request(name: str, deployment_id: int, **other: Any) -> dict[str, Any]:
    """Return a job request in the previous system's form."""
    return {
        "name": name,
        "providerName": "IBM",
        "deviceName": "aer_simulator",
        "shots": 300,
        "token": "do-not-send-me",
        "type": "RUNNER",
        "deploymentId": deployment_id,
    } | other


def test_data_of_the_previous_system_is_imported_once(small: Server, tmp_path: Path) -> None:
    (tmp_path / "deployments.json").write_text(json.dumps([deployment("one"), deployment("two")]))
    (tmp_path / "jobs.json").write_text(
        json.dumps(
            [
                request("a", 2),
                request("b", 1, providerName="RIGETTI", deviceName="2q-qvm"),
                request("c", 9),
                request("d", 1, shots=0),
                request("a", 2),
            ]
        )
    )
    files = ("import-qunicorn", str(tmp_path / "deployments.json"), str(tmp_path / "jobs.json"))
    before = len(rows(call(small, "deployments", "--limit", "0", "--output", "csv")))

    tried = call(small, *files, "--dry-run", "--output", "csv")
    assert tried.exit_code == 4
    assert [row["outcome"] for row in rows(tried)] == (
        ["refused"] + ["would be stored"] * 2 + ["would be made", "refused", "refused", "would be made"]
    )
    assert len(rows(call(small, "deployments", "--limit", "0", "--output", "csv"))) == before, "nothing was stored"

    first = call(small, *files, "--output", "csv")
    assert first.exit_code == 4
    assert "deviceName: this server has no RIGETTI/2q-qvm" in first.stderr
    assert "--device RIGETTI/2q-qvm=IBM/aer_simulator" in first.stderr
    assert "deploymentId: deployment 9 was not imported" in first.stderr
    assert "$[3].shots" in first.stderr
    assert "do-not-send-me" not in first.output
    assert "not sent" in first.stderr
    found = {(row["kind"], row["name"], row["entry"][-4:]): row for row in rows(first)}
    one, two = found["deployment", "one", "$[0]"], found["deployment", "two", "$[1]"]
    made = found["job", "a", "$[0]"]
    assert made["deployment_id"] == two["deployment_id"]
    assert made["job_id"] != found["job", "a", "$[4]"]["job_id"], "asked for twice, made twice"

    again = call(small, *files, "--device", "RIGETTI/2q-qvm=IBM/aer_simulator", "--output", "csv")
    later = {(row["kind"], row["name"], row["entry"][-4:]): row for row in rows(again)}
    assert later["deployment", "one", "$[0]"]["deployment_id"] == one["deployment_id"]
    assert later["job", "a", "$[0]"]["outcome"] == "made before"
    assert later["job", "a", "$[0]"]["job_id"] == made["job_id"]
    assert later["job", "b", "$[1]"]["outcome"] == "made"
    assert call(small, "watch", made["job_id"]).exit_code == 0
    with Client(small.target) as client:
        assert sum(client.job(int(made["job_id"])).result(60).counts.values()) == 300
        assert client.job(int(made["job_id"])).job().name == "a"


def test_deployments_without_a_job_are_run_on_request(small: Server, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(deployment("alone") | {"id": 40}))
    done = call(small, "import-qunicorn", str(path), "--run", "--shots", "20")
    assert done.exit_code == 0, done.stderr
    assert "follow the jobs: qonduit watch" in done.stdout
    job = done.stdout.split("qonduit watch ")[1].split()[0]
    assert "20" in call(small, "job", job, "--output", "csv").stdout.splitlines()[1]
    stored = call(small, "import-qunicorn", "-", "--json", text=json.dumps(request("later", 40)))
    assert stored.exit_code == 4
    with Client(small.target) as client:
        known = client.job(int(job)).job().deployment_id
    mapped = call(
        small, "import-qunicorn", "-", "--deployment", f"40={known}", "--json", text=json.dumps(request("later", 40))
    )
    assert mapped.exit_code == 0, mapped.stderr
    assert json.loads(mapped.stdout)["deployment_id"] == known


def test_invalid_files_do_not_stop_the_import(small: Server, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(deployment("good")))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "bytes.json").write_bytes(bytes(range(256)))
    files = [str(tmp_path / name) for name in ("deep.json", "bytes.json", "no.json", "good.json")]
    done = call(small, "import-qunicorn", *files, str(tmp_path), "--output", "csv")
    assert done.exit_code == 4
    assert [row["outcome"] for row in rows(done)] == ["refused"] * 4 + ["stored"]
    assert "Traceback" not in done.output


def test_jobs_wait_for_their_time_and_expire(small: Server, turn: str) -> None:
    inputs = ("--input", "theta=0.5", "--input", "phi=0", "--json")
    for command in (("run", turn), ("sample", turn), ("estimate", turn, "--observable", "Z0", "--exact")):
        done = call(
            small, *command, *inputs, "--detach", "--priority", "-4", "--not-before", "1h", "--expires-at", "2999-01-31"
        )
        assert done.exit_code == 0, done.stderr
        job = json.loads(done.stdout)["job"]
        assert job["priority"] == -4
        assert job["expires_at"].startswith("2999-01-3")
        shown = call(small, "job", str(job["id"]))
        assert "QUEUED" in shown.stdout
        assert call(small, "cancel", str(job["id"])).exit_code == 0

    expired = call(small, "run", turn, *inputs[:4], "--not-before", "1h", "--expires-at", "2020-01-01")
    assert expired.exit_code != 0
    assert "EXPIRED" in expired.output
    misused = call(small, "run", turn, "--not-before", "soon")
    assert misused.exit_code == 2
    assert "expected a duration such as 30m, 12h or 7d" in misused.stderr


def test_jobs_are_listed_cancelled_and_deleted_by_filter(small: Server, turn: str) -> None:
    def run(name: str, *labels: str) -> str:
        options = [each for label in labels for each in ("--label", label)]
        return call(
            small, "run", turn, "--input", "theta=0.5", "--input", "phi=0", "--name", name, *options, "--detach"
        ).stdout.strip()

    one, two, plain = run("b", "series=x", "k=*"), run("a", "series=x"), run("plain")
    assert call(small, "watch", one, two, plain).exit_code == 0

    def listed(*options: str) -> list[str]:
        done = call(small, "jobs", "--output", "csv", *options)
        assert done.exit_code == 0, done.stderr
        return [row["job_id"] for row in rows(done)]

    assert listed("--label", "series=x") == [two, one]
    assert listed("--label", "series=x", "--order-by", "name desc", "--mine", "--since", "1h") == [one, two]
    assert listed("--label", "series", "--label", "k=*") == [one]
    assert listed("--label", "series", "--since", "2999-01-01") == []
    assert listed("--filter", 'name = "pl*" OR name = "b"', "--limit", "2") == [plain, one]
    table = call(small, "jobs", "--label", "series=x").stdout
    assert table.splitlines()[0].split()[-2:] == ["NAME", "LABELS"]
    assert "k=*, series=x" in table

    done = call(small, "cancel", "--label", "series=x")
    assert (done.exit_code, done.stdout) == (0, "0 jobs cancelled\n")
    done = call(small, "delete", "--label", "series=x", "--filter", "name = b OR name = c", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, f"1 job would be deleted: {one}\n")
    done = call(small, "delete", "--label", "series=x", "--json")
    assert json.loads(done.stdout) == {"count": 2, "dry_run": False, "job_ids": [int(two), int(one)]}
    assert listed("--label", "series=x") == []
    assert listed("--filter", f"id = {plain}") == [plain]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["delete"], "pass either job ids"),
        (["cancel", "1", "--filter", "*"], "pass either job ids"),
        (["delete", "1", "--dry-run"], "--dry-run needs a filter"),
        (["jobs", "--since", "yesterday"], "expected a duration such as 30m"),
        (["jobs", "--since", "9999999999d"], "expected a duration such as 30m"),
        (["jobs", "--since", "999999w"], "expected a duration such as 30m"),
        (["jobs", "--label", "=x"], "expected NAME or NAME=VALUE"),
    ],
)
def test_wrong_selections_are_explained(small: Server, arguments: list[str], words: str) -> None:
    done = call(small, *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--filter", "colour = 3"], "no field 'colour'"), (["--order-by", "colour"], "must be one of created_at")],
)
def test_the_server_explains_wrong_filters_and_orders(small: Server, arguments: list[str], words: str) -> None:
    done = call(small, "jobs", *arguments)
    assert done.exit_code == 4, done.output
    assert words in done.stderr


def test_deployments_are_listed_by_filter(small: Server, turn: str) -> None:
    made = json.loads(call(small, "deployments", "create", turn, "--label", "series=d", "--json").stdout)
    assert made["labels"] == {"series": "d"}
    found = rows(call(small, "deployments", "--filter", "label.series = d", "--output", "csv"))
    assert [(row["deployment_id"], row["labels"]) for row in found] == [(str(made["id"]), "series=d")]
