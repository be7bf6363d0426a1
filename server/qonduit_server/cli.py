# SPDX-License-Identifier: Apache-2.0
"""The operator's commands: serve, migrate, doctor, demo. What runs the server is imported inside the functions."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from types import FrameType

    from qonduit_server.settings import Settings

#: A server that could not start, or a database that needs mending.
EXIT_FAILED = 1
EXIT_USAGE = 2


def _settings(**given: Any) -> Settings:
    """Settings from the environment, overridden by the options that were given."""
    from pydantic import ValidationError

    from qonduit_server.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise click.UsageError(f"settings: {problems}") from error


_database = click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/NAME.")


@click.group(help="Run and look after a Qonduit server. Every setting can also be given as QONDUIT_<NAME>.")
def main() -> None:
    """Group of the operator's commands; `qonduit` shows them beside the client's."""


@main.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to serve [127.0.0.1:50051]; port 0 takes a free one.")
@_database
@click.option("--workers", type=click.IntRange(min=1), help="Tasks that run at once [one a core].")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), help="[auto]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]")
def serve(**options: Any) -> None:
    """Serve until SIGTERM or SIGINT; a first signal drains, a second one ends at once.

    Prints "serving on HOST:PORT" on standard output once calls are answered; logs go to standard error.
    """
    from qonduit_server import app
    from qonduit_server.errors import StartError

    settings = _settings(**options)
    stop = threading.Event()
    hurry = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        running = app.start(settings)
    except StartError as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"serving on {running.target}")
    stop.wait()
    running.stop(settings.drain_seconds, hurry)


@main.command()
@_database
def migrate(**options: Any) -> None:
    """Bring a database to this version's schema, and say which that is. `serve` does the same when it starts."""
    from qonduit_server.errors import StartError
    from qonduit_server.store import migrations

    settings = _settings(**options)
    try:
        before = migrations.current(settings.database)
        after = migrations.upgrade(settings.database)
    except StartError as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"schema {after}, nothing to do" if before == after else f"schema {before or 'none'} -> {after}")


@main.command()
@_database
def doctor(**options: Any) -> None:
    """Look for what is wrong with the installation and the database, and say how to mend it. Exit 1 if anything is."""
    from qonduit_server import app

    findings = app.examine(_settings(**options))
    for finding in findings:
        click.echo(f"{finding.level:7}  {finding.what}")
        if finding.how_to_mend:
            click.echo(f"{'':9}{finding.how_to_mend}")
    sys.exit(EXIT_FAILED if any(finding.level == "error" for finding in findings) else 0)


@main.command()
@click.option("--shots", type=click.IntRange(min=1), default=1000, show_default=True)
def demo(shots: int) -> None:
    """Start an embedded server, run a Bell circuit on three providers, show what happens, stop."""
    from qonduit_client.demo import show_demo
    from qonduit_server import app
    from qonduit_server.errors import StartError

    with tempfile.TemporaryDirectory(prefix="qonduit-demo-") as folder:
        settings = _settings(
            listen="127.0.0.1:0", database=f"sqlite:///{Path(folder) / 'demo.sqlite3'}", log_level="error"
        )
        try:
            running = app.start(settings)
        except StartError as error:
            click.echo(f"qonduit: {error}", err=True)
            sys.exit(EXIT_FAILED)
        try:
            agreed = show_demo(running.target, shots=shots)
        finally:
            running.stop(0, threading.Event())
    sys.exit(0 if agreed else EXIT_FAILED)
