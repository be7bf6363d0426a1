# SPDX-License-Identifier: Apache-2.0
"""Server commands are found by entry points, listed without import, and name the missing package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import click
import pytest
from click.testing import CliRunner

from qonduit_client.cli.commands import ENTRY_POINTS, qonduit


@click.command()
@click.option("--loud", is_flag=True)
def plugged(loud: bool) -> None:
    """Print a greeting."""
    click.echo("HELLO" if loud else "hello")


@click.command()
def lacking() -> None:
    """Import a missing module."""
    raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")


@click.command()
def broken() -> None:
    """Raise an error of its own."""
    raise ModuleNotFoundError("No module named 'qonduit_server.nonsense'", name="qonduit_server.nonsense")


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register entry points of this file and of modules that do not exist."""
    here = __name__
    found = EntryPoints(
        [
            EntryPoint("hello", f"{here}:plugged", ENTRY_POINTS),
            EntryPoint("serve", "no_such_module.cli:serve", ENTRY_POINTS),
            EntryPoint("migrate", f"{here}:lacking", ENTRY_POINTS),
            EntryPoint("doctor", f"{here}:broken", ENTRY_POINTS),
        ]
    )
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **given: found.select(**given))


@pytest.mark.usefixtures("points")
def test_command_of_another_package() -> None:
    assert CliRunner().invoke(qonduit, ["hello", "--loud"]).stdout == "HELLO\n"


@pytest.mark.usefixtures("points")
@pytest.mark.parametrize(
    ("name", "missing"), [("serve", "no_such_module"), ("migrate", "sqlalchemy"), ("demo", "not installed")]
)
def test_a_command_that_is_not_installed(name: str, missing: str) -> None:
    done = CliRunner().invoke(qonduit, [name])
    assert done.exit_code != 0
    assert missing in done.stderr
    assert 'pip install "qonduit-quantum[server]"' in done.stderr


@pytest.mark.usefixtures("points")
def test_help_of_a_command_that_is_not_installed() -> None:
    done = CliRunner().invoke(qonduit, ["serve", "--help"])
    assert done.exit_code == 0
    assert "qonduit-quantum[server]" in done.stdout


@pytest.mark.usefixtures("points")
def test_an_import_error_in_a_command_is_not_reported_as_a_missing_extra() -> None:
    assert isinstance(CliRunner().invoke(qonduit, ["doctor"]).exception, ModuleNotFoundError)


def test_help_lists_both_sections() -> None:
    text = CliRunner().invoke(qonduit, ["--help"]).stdout
    commands, server = text.split("Server:")
    assert all(
        f"  {name} " in commands for name in ("run", "watch", "jobs", "result", "cancel", "devices", "deployments")
    )
    assert all(f"  {name} " in server for name in ("serve", "migrate", "backup", "doctor", "demo"))
    assert "124" in server


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Run code with command-line arguments; return the top-level modules that it has loaded at its end."""
    hook = "import atexit, sys; atexit.register(lambda: print('LOADED', *{n.split('.')[0] for n in sys.modules}))\n"
    done = subprocess.run(
        [sys.executable, "-c", hook + code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "LOADED" in loaded
    return loaded


QONDUIT = "from qonduit_client.cli.commands import main; main()"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import qonduit_client", {"grpc", "google", "click", "rich", "qonduit"}),
        (
            QONDUIT,
            {"grpc", "google", "rich", "qonduit", "qonduit_server"},
        ),
        ("from qonduit_client import Client", {"click", "rich", "qonduit_server"}),
    ],
)
def test_unused_modules_are_not_imported(code: str, absent: set[str]) -> None:
    assert not loaded_by(code, "--help") & absent


@pytest.mark.parametrize(
    "arguments", [["config", "list"], ["whoami"], ["login", "--help"], ["--server", "a", "config"]]
)
def test_commands_that_call_no_server_do_not_import_grpc(arguments: list[str]) -> None:
    assert not loaded_by(QONDUIT, *arguments) & {"grpc", "google", "rich", "qonduit", "qonduit_server"}


@pytest.mark.parametrize("arguments", [["jobs", "--server", "127.0.0.1:1"], ["devices", "--help"]])
def test_commands_that_call_a_server_import_nothing_of_it(arguments: list[str]) -> None:
    assert not loaded_by(QONDUIT, *arguments) & {"sqlalchemy", "psycopg", "alembic", "qonduit_server"}


@pytest.mark.parametrize("command", ["serve", "worker", "doctor", "migrate", "backup", "token", "audit", "user"])
def test_the_help_of_a_server_command_imports_neither_databases_nor_grpc(command: str) -> None:
    loaded = loaded_by(QONDUIT, command, "--help")
    assert "qonduit_server" in loaded
    assert not loaded & {"sqlalchemy", "psycopg", "alembic", "grpc", "google"}


def test_all_names_can_be_had() -> None:
    import qonduit_client

    assert {name for name in dir(qonduit_client) if getattr(qonduit_client, name)} == set(qonduit_client.__all__)
    with pytest.raises(AttributeError):
        getattr(qonduit_client, "Nonsense")  # noqa: B009
