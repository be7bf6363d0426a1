# SPDX-License-Identifier: Apache-2.0
"""The command line `qonduit`: submit programs, follow jobs, read results, start servers.

Only click is imported until a command runs. Other packages add commands with entry points of the group
`qonduit.commands`: the name of the entry point is the name of the command, its object is a click command.

Exit codes:
    0 succeeded, 1 job failed, 2 usage error, 3 not found, 4 rejected or invalid, 5 server unavailable or faulty,
    6 job cancelled, 124 timeout (the job continues), 130 interrupted (the job continues).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from qonduit_client.cli.error_messages import INTERRUPTED, USAGE, did_you_mean
from qonduit_client.cli.session import Session, print_error, report, session, shared_options
from qonduit_client.distribution import DISTRIBUTION, pip_install
from qonduit_client.errors import QonduitError

ENTRY_POINTS: Final = "qonduit.commands"

#: Commands of the client: module and attribute of each, and its line in the help.
_CLIENT: Final[dict[str, tuple[str, str]]] = {
    "run": ("qonduit_client.cli.run:run", "Run programs, follow the job and show its results."),
    "estimate": ("qonduit_client.cli.estimate_commands:estimate", "Estimate expectation values of observables."),
    "sample": ("qonduit_client.cli.estimate_commands:sample", "Sample the probabilities of outcomes."),
    "watch": ("qonduit_client.cli.watch:watch", "Follow one or more jobs until they end."),
    "rerun": ("qonduit_client.cli.run:rerun", "Run a job's programs again."),
    "resolve": ("qonduit_client.cli.resolve:resolve", "Settle a job that its vendor may have."),
    "result": ("qonduit_client.cli.watch:result", "Show a job's results."),
    "jobs": ("qonduit_client.cli.jobs:jobs", "List jobs, newest first."),
    "job": ("qonduit_client.cli.jobs:job", "Show one job."),
    "update": ("qonduit_client.cli.jobs:update", "Change a job that waits."),
    "cancel": ("qonduit_client.cli.jobs:cancel", "Cancel jobs."),
    "delete": ("qonduit_client.cli.jobs:delete", "Delete jobs that have ended."),
    "translate": ("qonduit_client.cli.translate:translate", "Translate a program into another language."),
    "languages": ("qonduit_client.cli.translate:languages", "List the supported program languages."),
    "devices": ("qonduit_client.cli.server_commands:devices", "List the devices."),
    "deployments": ("qonduit_client.cli.server_commands:deployments", "List, create, show and delete stored programs."),
    "program": (
        "qonduit_client.cli.program_commands:program",
        "Upload, list, show, run and delete Python programs that run on the server.",
    ),
    "credential": (
        "qonduit_client.cli.credential_commands:credential",
        "Store, list, replace and delete credentials of providers.",
    ),
    "project": (
        "qonduit_client.cli.project_commands:project",
        "Create, list, show and delete projects, and change their members.",
    ),
    "info": ("qonduit_client.cli.server_commands:info", "Show a server's version and limits."),
    "workers": ("qonduit_client.cli.server_commands:workers", "List a server's worker processes."),
    "pause": ("qonduit_client.cli.pause_commands:pause", "Pause a device, a provider or the server."),
    "drain": ("qonduit_client.cli.pause_commands:drain", "Pause, and wait until no job runs."),
    "resume": ("qonduit_client.cli.pause_commands:resume", "End a pause."),
    "share": ("qonduit_client.cli.share_commands:share", "List and set shares of the workers."),
    "pauses": ("qonduit_client.cli.pause_commands:pauses", "List the pauses."),
    "usage": ("qonduit_client.cli.usage_commands:usage", "Show what jobs used, by day, user or device."),
    "quota": ("qonduit_client.cli.usage_commands:quota", "Show, set and list quotas."),
    "import-qunicorn": ("qonduit_client.cli.qunicorn:import_qunicorn", "Import deployments and jobs from qunicorn."),
    "config": ("qonduit_client.cli.config_commands:config", "Name servers, with their settings."),
    "login": ("qonduit_client.cli.login_commands:login", "Log in to a server."),
    "logout": ("qonduit_client.cli.login_commands:logout", "Log out of a server."),
    "whoami": ("qonduit_client.cli.login_commands:whoami", "Show the user of a server's token."),
    "completion": ("qonduit_client.cli.completion:completion", "Print the completion script of a shell."),
}
#: Commands of the server; the help lists them also if the server is not installed.
_SERVER: Final[dict[str, str]] = {
    "serve": "Start a server.",
    "worker": "Run the tasks of servers whose executor is celery.",
    "demo": "Run a Bell circuit on three providers, with live progress.",
    "doctor": "Check this machine and suggest fixes.",
    "health": "Show whether the server of this machine serves.",
    "migrate": "Upgrade the database schema to this version.",
    "token": "Create, list and revoke the tokens of a server's callers.",
    "audit": "List, export and verify the audit log.",
    "adopt": "Hand all jobs, deployments and memberships of one user to another.",
    "user": "Export or delete the data of one user.",
    "environment": "Build Python environments for server programs.",
    "provider": "Install, list and remove the environments in which the server calls vendors.",
    "credential-key": "Create, list, rotate and remove the keys that encrypt credentials.",
    "backup": "Back up the database while the server runs.",
}


class Commands(click.Group):
    """A group that loads a command when it is called, and maps errors to a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, the client's first."""
        return [*_CLIENT, *_SERVER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command by its name."""
        if cmd_name in _CLIENT:
            module, _, attribute = _CLIENT[cmd_name][0].partition(":")
            command = getattr(import_module(module), attribute)
            return command if isinstance(command, click.Command) else None
        return _plugged_in(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was called.

        Raises:
            click.UsageError: no command has that name; the message suggests similar names.
        """
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and args[0][:1] != "-":
            close = did_you_mean(args[0], self.list_commands(ctx))
            meant = f"Did you mean {' or '.join(close)}?" if close else "`qonduit --help` lists them."
            ctx.fail(f"No such command {args[0]!r:.100}. {meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands to the help text, in two sections."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _CLIENT.items()])
        with formatter.section("Server"):
            formatter.write_dl(list(_SERVER.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; in standalone mode, exit with the command's exit code."""
        if "_QONDUIT_COMPLETE" in os.environ:
            import_module("qonduit_client.cli.completion")  # registers the completion class for bash
        here = Session()
        extra.setdefault("obj", here)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:
            code = INTERRUPTED
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except QonduitError as error:
            code = report(error, extra["obj"])
        except UnicodeEncodeError as error:
            # Arguments may be any bytes; protobuf strings hold Unicode only.
            print_error("Error", f"{error.object!r:.200} is not valid Unicode; use another name")
            code = USAGE
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing.startswith("qonduit"):
                raise
            click.echo(_not_installed(missing), err=True)
            code = USAGE
        code = code if isinstance(code, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code


def _plugged_in(name: str) -> click.Command | None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing == "qonduit_client" or missing == "qonduit":
                raise
            return _stub(name, missing)
        return command if isinstance(command, click.Command) else None
    return _stub(name, "") if name in _SERVER else None


def _stub(name: str, missing: str) -> click.Command:
    """Return a placeholder for a server command that cannot be loaded; call and help name the package to install."""

    @click.command(
        name,
        help=_SERVER.get(name, ""),
        epilog=_not_installed(missing),
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> int:
        click.echo(_not_installed(missing), err=True)
        return USAGE

    return command


def _not_installed(missing: str) -> str:
    why = f" ({missing} is missing)" if missing else ""
    return f"This command requires the server, which is not installed{why}: {pip_install('server')}"


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": None},
    epilog=(
        "Exit codes: 0 succeeded, 1 job failed, 2 usage error, 3 not found, 4 rejected or invalid, "
        "5 server unavailable, 6 job cancelled, 124 timeout, 130 interrupted "
        "(after a timeout or an interrupt, the job continues)."
    ),
)
@shared_options(environment=True)
@click.version_option(package_name=DISTRIBUTION, prog_name="qonduit")
def qonduit() -> None:
    """Run quantum programs on any provider's devices.

    \b
    qonduit run bell.qasm --device IBM/aer_simulator --shots 1000
    """
    session()


def main() -> None:
    """Run the console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot encode a character still shows the rest
    qonduit.main(prog_name="qonduit")
