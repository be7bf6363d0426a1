# SPDX-License-Identifier: Apache-2.0
"""Sweeps: the values of inputs, the programs at each point, and how they become jobs."""

from __future__ import annotations

import math

import pytest
from click.testing import CliRunner, Result
from google.protobuf.json_format import MessageToDict

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.cli.commands import qonduit
from qonduit_client.sweep import MOST, at_point, points_of, values_of
from tests.unit.client.peer import Peer


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:1:3", [0.0, 0.5, 1.0]),
        ("1:-1:3", [1.0, 0.0, -1.0]),
        ("0.5:9:1", [0.5]),
        ("0:2*pi:3", [0.0, math.pi, 2 * math.pi]),
        ("-pi/2:pi/2:2", [-math.pi / 2, math.pi / 2]),
        ("0:2pi:2", [0.0, 2 * math.pi]),
        ("[1, 0.5]", [1, 0.5]),
        ('["01", true, [0, 1]]', ["01", True, [0, 1]]),
    ],
)
def test_values(text: str, values: list[object]) -> None:
    assert values_of(text) == values


def test_both_ends_are_exact() -> None:
    assert values_of("0.1:0.7:8")[0] == 0.1
    assert values_of("0.1:0.7:8")[-1] == 0.7


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "0:1",
            "0:1:2:3",
            "a:1:2",
            "0:1:0",
            "0:1:-5",
            "0:1:x",
            f"0:1:{MOST + 1}",
            "nan:1:2",
            "0:inf:2",
            "0:pi/0:2",
        ),
        *("[]", "[1", "{}", "[" * 100_000, "0:1:" + "9" * 5000, "1" * 100_000),
    ],
)
def test_invalid_values(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as wrong:
        values_of(text)
    assert len(str(wrong.value)) < 300


def test_points_are_all_combinations_the_last_input_fastest() -> None:
    points = list(points_of({"a": [0, 1], "b": ["x", "y"]}))
    assert [tuple(point.values()) for point in points] == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]


def test_a_program_at_a_point_keeps_its_other_inputs_and_is_a_new_one() -> None:
    program = QuantumProgram(id=4, deployment_id=5, quantum_circuit="text")
    program.python_file_inputs.update({"phi": 0.25, "theta": 9})
    copy = at_point(program, {"theta": 0.5, "flags": "01"})
    assert MessageToDict(copy.python_file_inputs) == {"phi": 0.25, "theta": 0.5, "flags": "01"}
    assert (copy.id, copy.deployment_id, copy.quantum_circuit) == (0, 0, "text")
    assert MessageToDict(program.python_file_inputs) == {"phi": 0.25, "theta": 9}


def call(peer: Peer, *arguments: str) -> Result:
    """Run a sweep against the peer."""
    text = "OPENQASM 3; input float theta; qubit q;"
    return CliRunner().invoke(qonduit, ["--server", peer.target, "run", "-", *arguments], input=text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sweep", "theta"], "NAME=VALUES"),
        (["--sweep", "=0:1:2"], "NAME=VALUES"),
        (["--sweep", "theta=0:1"], "START:STOP:COUNT"),
        (["--sweep", "theta=[{}]"], "expected a number"),
        (["--sweep", "theta=0:1:2", "--sweep", "theta=0:1:3"], "twice"),
        (["--sweep", "theta=0:1:2", "--input", "theta=1"], "set it once"),
        (["--sweep", "a=0:1:1000", "--sweep", "b=0:1:1000"], "split it"),
        (["--sweep", "theta=0:1:2", "--request-id", "x"], "uuidgen"),
    ],
)
def test_invalid_sweeps(peer: Peer, arguments: list[str], said: str) -> None:
    done = call(peer, *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert peer.created == []
