# SPDX-License-Identifier: Apache-2.0
"""The operator's commands: serve, migrate, backup, doctor, demo. Functions import the modules that they use."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import click

from qonduit_server.archive_commands import archive
from qonduit_server.audit_commands import audit
from qonduit_server.key_commands import credential_key
from qonduit_server.provider_commands import provider
from qonduit_server.setting_options import Configuration, settings_options
from qonduit_server.settings import Settings
from qonduit_server.token_commands import token
from qonduit_server.user_commands import adopt, user

if TYPE_CHECKING:
    from qonduit_server.process.service_manager import ServiceManager
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.shutdown import Shutdown
    from qonduit_server.store.admin.finding import Finding


class _Reloadable(Protocol):
    """A running server or worker machine."""

    @property
    def drain_seconds(self) -> float:
        """The time for running jobs to end."""

    def reload(self, wanted: Settings) -> None:
        """Adopt changed settings. Raises StartError."""


#: The server could not start, or the database has an error.
EXIT_FAILED = 1
EXIT_USAGE = 2
_HEALTH_SECONDS = 5.0
#: The settings of a worker machine.
_MACHINE_SETTINGS = (
    "broker",
    "broker_ca",
    "worker_key_file",
    "providers",
    "provider_python",
    "fake_backends",
    "preload",
    "enable_python_source",
    "language_python",
    "python_environments",
    "translation_cache",
    "translation_cache_bytes",
    "workers",
    "max_read_seconds",
    "max_task_memory_bytes",
    "max_memory_bytes",
    "drain_seconds",
    "log_format",
    "log_level",
)


@click.group(help="Run and maintain a Qonduit server. Each setting is an option or the variable QONDUIT_<NAME>.")
def main() -> None:
    """Group the operator's commands; `qonduit` lists them beside the client's."""


@main.command()
@click.option("--check-config", is_flag=True, help="Check all settings, print them with their origins, and exit.")
@click.option(
    "--restored",
    is_flag=True,
    help="The database was restored from a backup: begin a new log, and send no job to a vendor again. Use it for one "
    "start. A copy that qonduit backup made needs no option.",
)
@settings_options()
def serve(check_config: bool, restored: bool, configuration: Configuration) -> None:
    """Run the server until SIGTERM or SIGINT. The first signal drains, the second one ends at once.

    Prints "serving on HOST:PORT" to standard output when the server accepts calls. Logs to standard error. An unread
    log does not block the server: it drops lines that it cannot write, and counts them.

    SIGHUP reloads the configuration file. When the server's terminal closes, the server drains instead. Under nohup,
    it ignores SIGHUP.
    """
    if check_config:
        _check(configuration)
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.shutdown import Shutdown

    # Created first: from here on, no signal interrupts the process in the middle of an action.
    streams = StandardStreams()
    shutdown = Shutdown(streams, reloads=True)
    with streams:
        _serve(configuration, shutdown, streams, restored=restored)
    # All is closed and written. Python would take a moment to free every module.
    os._exit(os.EX_OK)


def _check(configuration: Configuration, of_machine: Collection[str] = ()) -> NoReturn:
    """Print the settings and their errors, and exit.

    Args:
        configuration: the settings.
        of_machine: the names of those of a worker machine; empty: check the settings of a server.
    """
    from qonduit_client.text_table import table_of
    from qonduit_server import examination

    rows = [row for row in configuration.rows() if not of_machine or row[0] in of_machine]
    click.echo(table_of(("SETTING", "VALUE", "FROM"), rows))
    check = examination.check_machine if of_machine else examination.check_settings
    findings = [each for each in check(configuration.settings) if each.level != "ok"]
    for finding in findings:
        click.echo(f"{finding.level}: {finding.what}. {finding.how_to_mend}".rstrip(), err=True)
    if not (code := _exit_code(findings)):
        click.echo("the configuration is valid", err=True)
    sys.exit(code)


def _exit_code(findings: Iterable[Finding]) -> int:
    return EXIT_FAILED if any(finding.level == "error" for finding in findings) else 0


def _serve(configuration: Configuration, shutdown: Shutdown, streams: StandardStreams, *, restored: bool) -> None:
    import structlog

    from qonduit_server import app
    from qonduit_server.errors import StartError
    from qonduit_server.process.service_manager import ServiceManager

    manager = ServiceManager()  # created first: no process inherits its variable
    try:
        running = app.start(configuration.settings, _fault_handler(shutdown), streams, restored=restored)
    except StartError as error:
        streams.write_error(f"qonduit: {error}")
        sys.exit(EXIT_FAILED)
    log = structlog.get_logger("qonduit.settings")
    for name, use in configuration.deprecated.items():
        log.warning("deprecated setting", setting=name, use=use)
    shutdown.started(configuration.settings.drain_seconds)
    streams.write_output(f"serving on {running.target}")
    _reload_until_stop(running, configuration, shutdown, manager, f"serving on {running.target}")
    running.stop(running.drain_seconds, shutdown.force)
    if shutdown.code:
        streams.write_error("qonduit: the server stopped because of an internal fault; see the log")
        sys.exit(shutdown.code)


def _reload_until_stop(
    running: _Reloadable, configuration: Configuration, shutdown: Shutdown, manager: ServiceManager, status: str
) -> None:
    """Reload the configuration at each SIGHUP until the program should stop, and report both to the manager."""
    import structlog

    from qonduit_server.errors import StartError
    from qonduit_server.shutdown import LEEWAY_SECONDS

    manager.ready(status)
    while shutdown.wait() == "reload":
        manager.reloading()
        try:
            running.reload(configuration.reread().settings)
        except StartError as error:
            structlog.get_logger("qonduit.settings").error("configuration not reloaded", why=str(error))
        shutdown.started(running.drain_seconds)
        manager.ready(status)
    manager.stopping("draining", running.drain_seconds + LEEWAY_SECONDS)


def _fault_handler(shutdown: Shutdown) -> Callable[[], None]:
    """Return a function that stops the program with an exit code."""

    def on_fault() -> None:
        shutdown.code = EXIT_FAILED
        shutdown.request()

    return on_fault


@main.command()
@click.option("--check-config", is_flag=True, help="Check these settings, print them with their origins, and exit.")
@settings_options(*_MACHINE_SETTINGS)
@click.option(
    "--idle-exit",
    type=click.IntRange(min=1),
    envvar="QONDUIT_IDLE_EXIT",
    show_envvar=True,
    metavar="SECONDS",
    help="End after this time without a task; default: never.",
)
@click.option(
    "--end-time",
    type=click.IntRange(min=0),
    envvar=["QONDUIT_END_TIME", "SLURM_JOB_END_TIME"],
    show_envvar=True,
    metavar="UNIX_TIME",
    help="End before this time, as an allocation does: drain --drain-seconds and 10 s earlier; default: never.",
)
def worker(check_config: bool, configuration: Configuration, idle_exit: int | None, end_time: int | None) -> None:
    """Run the tasks of servers whose executor is celery, until SIGTERM or SIGINT.

    Prints "worker ID runs" to standard output when its processes start. The first signal drains: running
    tasks have --drain-seconds to end, the others are handed back to their servers. The second one ends at once.

    SIGHUP reloads workers, drain_seconds, log_level and the password in broker from the configuration file. When the
    worker's terminal closes, the worker drains instead.
    """
    if check_config:
        _check(configuration, _MACHINE_SETTINGS)
    from qonduit_server import worker_program
    from qonduit_server.errors import StartError
    from qonduit_server.process.service_manager import ServiceManager
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.shutdown import Shutdown

    streams = StandardStreams()
    shutdown = Shutdown(streams, reloads=True)
    manager = ServiceManager()
    lifetime = worker_program.Lifetime(idle_seconds=idle_exit, end_time=end_time)
    with streams:
        try:
            machine = worker_program.start(
                configuration.settings, lifetime, shutdown.request, _fault_handler(shutdown), streams
            )
        except StartError as error:
            streams.write_error(f"qonduit: {error}")
            sys.exit(EXIT_FAILED)
        shutdown.started(configuration.settings.drain_seconds)
        streams.write_output(f"worker {machine.id} runs")
        _reload_until_stop(machine, configuration, shutdown, manager, f"worker {machine.id} runs")
        machine.stop(shutdown.force)
        if shutdown.code:
            streams.write_error("qonduit: the worker stopped because it can receive no tasks; see the log")
    # All is closed and written. Python would wait for threads that describe providers.
    os._exit(shutdown.code)


@main.command()
@settings_options("database")
def migrate(configuration: Configuration) -> None:
    """Upgrade a database to the schema of this version, and print it. `serve` does the same when it starts."""
    from qonduit_server.errors import StartError
    from qonduit_server.store import migrations, server_lock

    database = configuration.settings.database
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
@settings_options("database")
def backup(file: Path, configuration: Configuration) -> None:
    """Copy a SQLite database to FILE while a server uses it. FILE must not exist. The copy is checked.

    To restore it, stop the server and start it with --database sqlite:///FILE. For PostgreSQL, use pg_dump.
    """
    from qonduit_server.errors import StartError
    from qonduit_server.store.admin import backup as copying

    try:
        size = copying.copy(configuration.settings.database, file)
    except StartError as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"{file}: {size} bytes")


@main.command()
@click.option("--deep", is_flag=True, help="Check every row of the database, without a time limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding: level, what, how_to_mend.")
@settings_options()
def doctor(deep: bool, as_json: bool, configuration: Configuration) -> None:
    """Check the installation and the database, and print how to repair them. Exit with 1 if there is an error.

    The command changes nothing, so a server can run meanwhile. Pass the same settings as to the server.
    """
    from qonduit_server import examination, logs

    logs.configure("console", "error")  # the findings name what a server would log, and are alone on standard output
    findings = examination.examine(configuration.settings, deep=deep)
    for finding in findings:
        if as_json:
            click.echo(json.dumps(vars(finding)))
            continue
        click.echo(f"{finding.level:7}  {finding.what}")
        if finding.how_to_mend:
            click.echo(f"{'':9}{finding.how_to_mend}")
    sys.exit(_exit_code(findings))


@main.command()
@click.option("--service", default="", metavar="NAME", help="Readiness of a service, as qonduit.v1.JobService.")
@settings_options("listen", "tls_certificate")
def health(service: str, configuration: Configuration) -> None:
    """Print the health of the server with these settings on this machine. Exit with 1 unless it is SERVING.

    For health checks of containers. Without --service, it is the liveness of the server. With client certificates
    (tls_client_ca), the server refuses this command.
    """
    from qonduit_server.rpc.health_check import status_of

    settings = configuration.settings
    status = status_of(settings.listen, settings.tls_certificate, service, _HEALTH_SECONDS)
    click.echo(status)
    sys.exit(0 if status == "SERVING" else EXIT_FAILED)


main.add_command(token)
main.add_command(audit)
main.add_command(adopt)
main.add_command(user)
main.add_command(archive)
main.add_command(credential_key)
main.add_command(provider)


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
