# SPDX-License-Identifier: Apache-2.0
"""The commands estimate and sample with a real server, in every format."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qonduit_client.cli.commands import qonduit
from tests.server_process import Server

TURN = (
    'OPENQASM 3;\ninclude "stdgates.inc";\ninput float theta;\ninput float phi;\nqubit[2] q;\nbit[2] c;\n'
    "ry(theta) q[0];\nrx(phi) q[1];\nc = measure q;\n"
)


@pytest.fixture
def turn(tmp_path: Path) -> str:
    """A program with two inputs."""
    path = tmp_path / "turn.qasm"
    path.write_text(TURN)
    return str(path)


def call(server: Server, *arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(qonduit, ["--server", server.target, *arguments])


def rows(done: Result) -> list[dict[str, str]]:
    """Return the rows of CSV."""
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_estimates_are_rows_of_observables_at_points(server: Server, turn: str) -> None:
    done = call(
        *(server, "estimate", turn, "--observable", "Z0", "--observable", "2*X0*Z1"),
        *("--sweep", "theta=0:pi:3", "--input", "phi=0", "--exact", "--gradient"),
    )
    assert done.exit_code == 0, done.stderr
    table = done.stdout.split("\n\n")[1].splitlines()
    assert table[0].split() == [
        *("theta", "OBSERVABLE", "VALUE", "STANDARD", "ERROR", "LOW", "HIGH", "SHOTS", "d/d", "theta"),
    ]
    assert table[1].split()[:4] == ["0", "Z0", "1", "0"]
    assert table[4].split()[:3] == ["1.5708", "2*X0*Z1", "2"]
    assert len(table) == 7


def test_estimates_as_csv_have_stable_columns(server: Server, turn: str) -> None:
    done = call(
        *(
            server,
            "estimate",
            turn,
            turn,
            "--observable",
            "Z0 + 1",
            "--sweep",
            "theta=[0.3, 0.5]",
            "--sweep",
            "phi=[0]",
        ),
        *("--shots", "500", "--seed", "3", "--confidence", "0.9", "--output", "csv"),
    )
    assert done.exit_code == 0, done.stderr
    found = rows(done)
    assert list(found[0]) == [
        *("input.theta", "input.phi", "job_id", "program", "observable", "expression", "value", "standard_error"),
        *("variance", "confidence_low", "confidence_high", "shots", "bounded", "failure"),
    ]
    assert [(row["program"], row["input.theta"]) for row in found] == [
        *(("1", "0.3"), ("1", "0.5"), ("2", "0.3"), ("2", "0.5")),
    ]
    for row in found:
        expected = 1 + math.cos(float(row["input.theta"]))
        assert abs(float(row["value"]) - expected) < 6 * float(row["standard_error"])
        assert float(row["confidence_low"]) < float(row["value"]) < float(row["confidence_high"])
        assert row["shots"] == "500"
    again = call(server, "result", found[0]["job_id"], "--output", "csv")
    assert rows(again) == found
    job = call(server, "job", found[0]["job_id"]).stdout.splitlines()
    facts = {line.partition(" ")[0]: line.split()[-1] for line in job}
    assert (facts["type"], facts["observables"], facts["points"], facts["shots"]) == ("ESTIMATOR", "1", "2", "500")


def test_estimates_as_json_are_the_messages(server: Server, turn: str) -> None:
    done = call(
        *(server, "estimate", turn, "--observable", "Z0", "--input", "theta=0.7", "--input", "phi=0"),
        *("--precision", "0.05", "--seed", "2", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    final = json.loads(done.stdout.splitlines()[-1])
    values = final["results"][0]["expectation_values"]
    assert 0 < values["standard_errors"][0] <= 0.051
    assert values["shots"][0] > 0
    assert final["job"]["estimator"]["precision"] == 0.05


def test_a_sample_shows_probabilities_and_shots(server: Server, turn: str) -> None:
    inputs = ("--input", "theta=1.5707963267948966", "--input", "phi=0")
    table = call(server, "sample", turn, *inputs, "--shots", "40", "--seed", "1", "--per-shot").stdout
    assert "turn.qasm: 40 shots, 2 outcomes of c[2]" in table
    assert "first shots: 0x" in table
    exact = call(server, "sample", turn, *inputs, "--exact", "--bits").stdout
    assert "turn.qasm: exact, 2 outcomes of c[2]" in exact
    assert "01   50.0%" in exact
    shots = rows(call(server, "sample", turn, *inputs, "--shots", "40", "--seed", "1", "--per-shot", "--output", "csv"))
    outcomes = [row["outcome"] for row in shots if row["result_type"] == "SHOT"]
    assert len(outcomes) == 40
    shares = {row["outcome"]: row["probability"] for row in shots if row["result_type"] == "QUASI_DISTRIBUTION"}
    assert {key: float(share) for key, share in shares.items()} == {
        key: outcomes.count(key) / 40 for key in ("0x0", "0x1")
    }
    line = call(server, "sample", turn, *inputs, "--shots", "40", "--seed", "1", "--per-shot", "--json").stdout
    found = json.loads(line.splitlines()[-1])["results"][0]["quasi_distribution"]
    assert found["outcomes"] == outcomes
    assert found["by_register"][0]["register"] == "c"


def test_a_sample_of_a_sweep_is_a_table(server: Server, turn: str) -> None:
    done = call(server, "sample", turn, "--sweep", "theta=0:pi:2", "--input", "phi=0", "--exact")
    assert done.exit_code == 0, done.stderr
    table = done.stdout.split("\n\n")[1].splitlines()
    assert table[0].split() == ["theta", "JOB", "PROGRAM", "STATE", "OUTCOMES"]
    assert [line.split()[-2:] for line in table[1:]] == [["0x0", "100.0%"], ["0x1", "100.0%"]]


def test_validation_runs_nothing(server: Server, turn: str) -> None:
    jobs = call(server, "jobs", "--output", "csv").stdout
    for words in (("estimate", "--observable", "Z0"), ("sample",), ("run",)):
        own = (*words, turn, "--sweep", "theta=0:1:3", "--input", "phi=0", "--label", "a=b", "--stop-when", "0.1")
        done = call(server, *own, "--validate-only")
        assert done.exit_code == 0, done.stderr
        assert "nothing was run" in done.stdout
    assert call(server, "jobs", "--output", "csv").stdout == jobs
    inputs = ("--input", "theta=0", "--input", "phi=0")
    refused = call(server, "estimate", turn, "--observable", "Z5", "--exact", "--validate-only", *inputs)
    assert refused.exit_code == 4
    assert "qubit" in refused.stderr


def test_labels_and_the_stop_condition_are_sent(server: Server, turn: str) -> None:
    inputs = ("--input", "theta=1", "--input", "phi=0", "--shots", "1000000")
    done = call(server, "sample", turn, *inputs, "--label", "project=h2", "--stop-when", "0.01", "--json")
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["job"]["labels"] == {"project": "h2"}
    assert "labels      project=h2" in call(server, "job", str(final["job"]["id"])).stdout
    assert final["results"][0]["partial"]
    assert final["results"][0]["shots"] < 1_000_000


def test_jobs_of_several_types_are_watched_together(server: Server, turn: str) -> None:
    inputs = ("--input", "theta=0", "--input", "phi=0")
    ids = [
        call(server, *words, turn, *inputs, "--detach").stdout.strip()
        for words in (("run",), ("estimate", "--observable", "Z0"), ("sample",))
    ]
    table = call(server, "watch", *ids)
    assert table.exit_code == 0, table.stderr
    assert "OBSERVABLE" in table.stdout
    assert "OUTCOMES" in table.stdout
    found = rows(call(server, "watch", *ids, "--output", "csv"))
    assert [row["result_type"] for row in found] == ["COUNTS", "EXPECTATION_VALUES", "QUASI_DISTRIBUTION"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--observable", "X0*", "--input", "theta=0"], 4, "observables[0]"),
        ([], 2, "--observable"),
        (["--observable", "Z0", "--sweep", 'theta=["01"]'], 2, "values must be numbers"),
        (["--observable", "Z0", "--sweep", "theta=0:1:2", "--input", "theta=1"], 2, "set it once"),
        (["--observable", "Z0", "--device", "aer_simulator"], 3, "did you mean --device"),
    ],
)
def test_misuse_is_explained(server: Server, turn: str, arguments: list[str], code: int, error: str) -> None:
    done = call(server, "estimate", turn, *arguments)
    assert done.exit_code == code, done.output
    assert error in done.stderr


def test_a_program_that_fails_has_its_reason(server: Server, turn: str) -> None:
    done: Any = call(
        server, "estimate", turn, "--observable", "Z0", "--sweep", "theta=[0]", "--exact", "--output", "csv"
    )
    assert done.exit_code == 1
    assert [row["failure"] for row in rows(done)] == ["MISSING_INPUT"]
