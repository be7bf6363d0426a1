# SPDX-License-Identifier: Apache-2.0
"""Numbers on the command line: readable help, and errors for values that are not numbers."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from qonduit_client.cli.commands import qonduit


def commands(group: click.Group, *names: str) -> Iterator[list[str]]:
    """Yield the full name of every command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield [*names, name]
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_no_help_shows_the_range_of_a_64_bit_integer() -> None:
    called = list(commands(qonduit))
    assert ["deployments", "list"] in called
    for names in called:
        shown = CliRunner().invoke(qonduit, [*names, "--help"], terminal_width=200)
        assert shown.exit_code == 0, names
        assert "<=x" not in shown.output, shown.output
        assert str(2**63 - 1) not in shown.output, shown.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["job", "abc"], "a job's id is an integer of at least 1 (`qonduit jobs` lists them), got 'abc'"),
        (["cancel", "7", "1.5"], "a job's id is an integer of at least 1 (`qonduit jobs` lists them), got '1.5'"),
        (["watch", "0"], "a job's id is an integer of at least 1 (`qonduit jobs` lists them), got '0'"),
        (["job", str(2**63)], f"a job's id is an integer of at least 1 (`qonduit jobs` lists them), got '{2**63}'"),
        (["deployments", "show", "bell"], "a deployment's id is an integer of at least 1"),
        (["run", "--deployment", "bell"], "a deployment's id is an integer of at least 1"),
        (["run", "-", "--shots", "many"], "shots must be an integer of at least 1"),
        (["run", "-", "--seed", "x"], "a seed must be an integer from 0 to 4294967295, got 'x'"),
        (["jobs", "--limit", "-1"], "a limit must be an integer of at least 0 (0 lists all), got '-1'"),
    ],
)
def test_the_error_of_an_invalid_number_names_its_meaning(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(qonduit, arguments)
    assert done.exit_code == 2
    assert words in done.output
