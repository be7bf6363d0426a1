# SPDX-License-Identifier: Apache-2.0
"""Output formats: JSON and CSV of every command that shows data, colours, and input from pipes."""

# ruff: noqa: E501 (a case a line)

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qonduit_client.cli.colours import wants_color
from qonduit_client.cli.commands import qonduit
from tests.unit.client.peer import BELL, FAILED, Peer, history

RESULTS = "job_id,program,program_id,state,result_type,outcome,count,probability,real,imaginary,failure"


def call(peer: Peer, *arguments: str, text: str | None = None) -> Result:
    """Run `qonduit` against the peer."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, *arguments], input=text)


def rows(done: Result) -> list[dict[str, str]]:
    """Return the CSV rows on standard output."""
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        (["jobs"], "job_id,state,progress,device,shots,created_at,started_at,finished_at,seconds,deployment_id,failure,name,user,labels,queue,project"),
        (["job", "7"], "job_id,state,progress,device,shots,created_at,started_at,finished_at,seconds,deployment_id,failure,name,user,labels,queue,project"),
        (["devices"], "device,device_id,num_qubits,is_simulator,is_local,max_shots,queue_depth,available,status_message,noise,precision,methods,paused"),
        (["devices", "--languages"], "provider,with_token,languages"),
        (["languages"], "language,form,readable,writable,read_milliseconds,write_milliseconds,python_source,title"),
        (["result", "7"], RESULTS),
        (["watch", "7"], RESULTS),
        (["rerun", "7"], RESULTS),
        (["run", "-"], RESULTS),
        (["run", "-", "--detach"], "job_id"),
        (["cancel", "7"], "job_id,state"),
        (["delete", "7"], "deleted"),
    ],
)  # fmt: skip
def test_csv_has_columns_that_stay(peer: Peer, arguments: list[str], head: str) -> None:
    done = call(peer, *arguments, "--output", "csv", text=BELL)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == head
    for row in csv.reader(io.StringIO(done.stdout)):
        assert len(row) == len(head.split(","))


def test_results_as_csv(peer: Peer) -> None:
    found = rows(call(peer, "run", "-", "--output", "csv", text=BELL))
    assert [(row["outcome"], row["count"], row["probability"]) for row in found] == [
        ("0x0", "507", "0.507"),
        ("0x3", "493", "0.493"),
    ]
    assert {row["state"] for row in found} == {"SUCCEEDED"}


def test_a_program_that_failed_has_its_row(peer: Peer) -> None:
    peer.events, peer.results = history(FAILED), []
    done = call(peer, "result", "7", "--output", "csv")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1] == "7,1,5,FAILED,,,,,,,SYNTAX_ERROR"
    assert "no gate foo" in done.stderr


def test_names_with_commas_and_quotes_survive_csv(peer: Peer) -> None:
    name = 'a, "b"\nc'
    for event in peer.events:
        event.state_change.job.name = name
    assert rows(call(peer, "job", "7", "--output", "csv"))[0]["name"] == name


@pytest.mark.parametrize("form", [["--json"], ["--output", "json"]])
def test_both_ways_to_ask_for_json(peer: Peer, form: list[str]) -> None:
    for arguments in ([*form, "job", "7"], ["job", "7", *form]):
        assert json.loads(call(peer, *arguments).stdout)["id"] == 7


def test_invalid_format(peer: Peer) -> None:
    done = call(peer, "jobs", "--output", "xml")
    assert done.exit_code == 2
    assert "csv" in done.stderr


def test_a_pipe_is_read_where_no_file_is_named(peer: Peer, tmp_path: Path) -> None:
    for command in (["run", "--detach"], ["translate", "--to", "QASM3"]):
        assert call(peer, *command, text=BELL).exit_code == 0
    assert peer.created[0].deployment.programs[0].quantum_circuit == BELL
    assert peer.translated[0].program.quantum_circuit == BELL
    nothing = call(peer, "run", text="")
    assert nothing.exit_code == 2
    assert "pass program files" in nothing.stderr
    twice = call(peer, "run", "-", "-", text=BELL)
    assert twice.exit_code == 2
    assert "read once" in twice.stderr


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True, True),
    ],
)
def test_colours_are_as_wanted(environment: dict[str, str], terminal: bool, pipe: bool) -> None:
    assert wants_color(Terminal(), environment) is terminal
    assert wants_color(io.StringIO(), environment) is pipe


def test_colours_that_are_forced_reach_a_pipe(peer: Peer) -> None:
    arguments = ["--server", peer.target, "result", "7"]
    assert "\x1b[36m█" in CliRunner().invoke(qonduit, arguments, env={"FORCE_COLOR": "1", "NO_COLOR": ""}).stdout
    assert "\x1b" not in CliRunner().invoke(qonduit, arguments, env={"FORCE_COLOR": "", "NO_COLOR": ""}).stdout
    said = CliRunner().invoke(qonduit, ["--server", peer.target, "job", "8"], env={"FORCE_COLOR": "1", "NO_COLOR": ""})
    assert "\x1b[31m\x1b[1mError\x1b[0m" in said.stderr
