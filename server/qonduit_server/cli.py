# SPDX-License-Identifier: Apache-2.0
"""The operator's commands: serve, migrate, backup, doctor, demo. Functions import the modules that they use."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from qonduit_server.audit_commands import audit
from qonduit_server.key_commands import credential_key
from qonduit_server.settings import Settings
from qonduit_server.token_commands import token
from qonduit_server.user_commands import adopt, user

if TYPE_CHECKING:
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.shutdown import Shutdown

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: The server could not start, or the database has an error.
EXIT_FAILED = 1
EXIT_USAGE = 2


class _Names(click.ParamType[tuple[str, ...]]):
    """A list of names: NAME,NAME."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split the text at commas."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())


class _Pairs(click.ParamType[Mapping[str, str]]):
    """A table: NAME=VALUE,NAME=VALUE."""

    name = "NAME=VALUE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Mapping[str, str]:
        """Split the text at commas and equals signs."""
        if isinstance(value, Mapping):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(name.strip() and path.strip() for name, _, path in pairs):
            self.fail(f"must be NAME=VALUE,NAME=VALUE, got {value!r}", param, ctx)
        return {name.strip(): path.strip() for name, _, path in pairs}


class _Checked(click.ParamType[str]):
    """Text that the setting's check accepts."""

    name = "text"

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged if the check accepts it."""
        try:
            self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


def _type_of(setting: Field[Any]) -> click.ParamType[Any]:
    """Return the option type for a setting's annotation."""
    annotation = get_type_hints(Settings)[setting.name]
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if check := setting.metadata.get("check"):
        return _Checked(check)
    least = setting.metadata.get("least")
    types: dict[Any, click.ParamType[Any]] = {
        str: click.STRING,
        int: click.IntRange(min=least),
        float: click.FloatRange(min=least),
        tuple[str, ...]: _Names(),
        Mapping[str, str]: _Pairs(),
    }
    return types[annotation]


def _settings_options(*names: str) -> Callable[[_Command], _Command]:
    """Add the named settings (all if no name is given) to a command as options, each also read from QONDUIT_<NAME>."""

    def decorate(command: _Command) -> _Command:
        for setting in reversed(fields(Settings)):
            if not names or setting.name in names:
                shown = setting.metadata["help"] + _shown(setting.default)
                for name in filter(None, (setting.name, setting.metadata.get("formerly"))):
                    command = click.option(
                        f"--{name.replace('_', '-')}",
                        type=_type_of(setting),
                        default=None,
                        envvar=f"QONDUIT_{name.upper()}",
                        help=shown,
                        hidden=name != setting.name,
                    )(command)
        return command

    return decorate


def _shown(default: object) -> str:
    return f"  [{default}]" if default not in ((), MISSING) else ""


#: Deprecated names of settings, mapped to their replacements.
_RENAMED: Final = {
    setting.metadata["formerly"]: setting.name for setting in fields(Settings) if "formerly" in setting.metadata
}


def _settings(options: dict[str, Any]) -> Settings:
    """Return the settings; options that were not set have defaults. A new name overrides a deprecated one."""
    used = {name: value for name, value in options.items() if value is not None}
    renamed = {_RENAMED[name]: used.pop(name) for name in _deprecated(options)}
    return Settings(**renamed | used)


def _deprecated(options: dict[str, Any]) -> list[str]:
    """Return the deprecated names that were used."""
    return [name for name in _RENAMED if options.get(name) is not None]


@click.group(help="Run and maintain a Qonduit server. Each setting is an option or the variable QONDUIT_<NAME>.")
def main() -> None:
    """Group the operator's commands; `qonduit` lists them beside the client's."""


@main.command()
@_settings_options()
def serve(**options: Any) -> None:
    """Run the server until SIGTERM, SIGINT or SIGHUP. The first signal drains, the second one ends at once.

    Prints "serving on HOST:PORT" to standard output when the server accepts calls. Logs to standard error. An unread
    log does not block the server: it drops lines that it cannot write, and counts them. Under nohup, it ignores SIGHUP.
    """
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.shutdown import Shutdown

    # Created first: from here on, no signal interrupts the process in the middle of an action.
    streams = StandardStreams()
    shutdown = Shutdown(streams)
    settings = _settings(options)
    with streams:
        _serve(settings, shutdown, streams, _deprecated(options))


def _serve(settings: Settings, shutdown: Shutdown, streams: StandardStreams, deprecated: Sequence[str]) -> None:
    import structlog

    from qonduit_server import app
    from qonduit_server.errors import StartError

    faults: list[str] = []

    def on_fault() -> None:
        faults.append("dispatcher")
        shutdown.code = EXIT_FAILED
        shutdown.stop.set()

    try:
        running = app.start(settings, on_fault, streams)
    except StartError as error:
        streams.write_error(f"qonduit: {error}")
        sys.exit(EXIT_FAILED)
    for name in deprecated:
        structlog.get_logger("qonduit.settings").warning("deprecated setting", setting=name, use=_RENAMED[name])
    shutdown.started(settings.drain_seconds)
    streams.write_output(f"serving on {running.target}")
    shutdown.stop.wait()
    running.stop(settings.drain_seconds, shutdown.force)
    if faults:
        streams.write_error("qonduit: the server stopped because of an internal fault; see the log")
        sys.exit(EXIT_FAILED)


@main.command()
@_settings_options("database")
def migrate(**options: Any) -> None:
    """Upgrade a database to the schema of this version, and print it. `serve` does the same when it starts."""
    from qonduit_server.errors import StartError
    from qonduit_server.store import migrations, server_lock

    database = _settings(options).database
    try:
        schema = migrations.inspect(database)
        # A server on a SQLite file holds this lock: no other process may change its schema.
        lock = server_lock.acquire(database) if schema.needs_upgrade(migrations.HEAD) else None
        before, after = schema.revision, migrations.upgrade(database)
        if lock is not None:
            lock.close()
    except StartError as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"schema {after}, up to date" if before == after else f"schema {before or 'none'} -> {after}")


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_settings_options("database")
def backup(file: Path, **options: Any) -> None:
    """Copy a SQLite database to FILE while a server uses it. FILE must not exist. The copy is checked.

    To restore it, stop the server and start it with --database sqlite:///FILE. For PostgreSQL, use pg_dump.
    """
    from qonduit_server.errors import StartError
    from qonduit_server.store.admin import backup as copying

    try:
        size = copying.copy(_settings(options).database, file)
    except StartError as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"{file}: {size} bytes")


@main.command()
@click.option("--deep", is_flag=True, help="Check every row of the database, without a time limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding: level, what, how_to_mend.")
@_settings_options()
def doctor(deep: bool, as_json: bool, **options: Any) -> None:
    """Check the installation and the database, and print how to repair them. Exit with 1 if there is an error.

    The command changes nothing, so a server can run meanwhile. Pass the same settings as to the server.
    """
    from qonduit_server import app

    findings = app.examine(_settings(options), deep=deep)
    for finding in findings:
        if as_json:
            click.echo(json.dumps(vars(finding)))
            continue
        click.echo(f"{finding.level:7}  {finding.what}")
        if finding.how_to_mend:
            click.echo(f"{'':9}{finding.how_to_mend}")
    sys.exit(EXIT_FAILED if any(finding.level == "error" for finding in findings) else 0)


main.add_command(token)
main.add_command(audit)
main.add_command(adopt)
main.add_command(user)
main.add_command(credential_key)


@main.command()
@click.option("--shots", type=click.IntRange(min=1), default=1000, show_default=True)
def demo(shots: int) -> None:
    """Start an embedded server, run a Bell circuit on three providers, print the counts, and stop."""
    from qonduit_client.cli.demo import show_demo
    from qonduit_server import app
    from qonduit_server.errors import StartError

    with tempfile.TemporaryDirectory(prefix="qonduit-demo-") as folder:
        database = f"sqlite:///{Path(folder) / 'demo.sqlite3'}"
        settings = Settings(listen="127.0.0.1:0", database=database, log_level="error")
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
