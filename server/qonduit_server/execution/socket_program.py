# SPDX-License-Identifier: Apache-2.0
"""Start a program of a provider, with a socket to this process and its standard error in the log."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qonduit_server.execution.stderr_log import Output, Stderr
from qonduit_server.process.parent_death import with_death_signal


class SocketProgram(NamedTuple):
    """A started program.

    Attributes:
        process: its process; the kernel kills it when this process or the thread that started it ends.
        socket: this process's end of the socket.
        stderr: the log entry of its standard error, if it is logged.
    """

    process: subprocess.Popen[bytes]
    socket: socket.socket
    stderr: Stderr | None


def start_program(
    kind: str, provider: str, command: Sequence[str], output: Output, environment: Mapping[str, str] | None
) -> SocketProgram:
    """Start a program with the arguments `--provider NAME --socket DESCRIPTOR` after its own.

    Args:
        kind: the kind of the process, for the log.
        provider: the name of the provider.
        command: the program and its own arguments.
        output: the destination of its standard error.
        environment: its environment; default: the one of this process.

    Raises:
        OSError: the program cannot be started.
    """
    ours, theirs = socket.socketpair()
    stderr, errors = output.open(kind, provider)
    try:
        with theirs:
            whole = [*command, "--provider", provider, "--socket", str(theirs.fileno())]
            process = launch(whole, theirs.fileno(), errors, environment)
    except OSError:
        ours.close()
        raise
    finally:
        os.close(errors)
    if stderr is not None:
        stderr.pid = process.pid
    return SocketProgram(process, ours, stderr)


def launch(
    command: Sequence[str], link: int, errors: int, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    """Start a program with a socket.

    Args:
        command: the program and its arguments.
        link: the file descriptor of the socket.
        errors: the file descriptor of its standard error.
        environment: its environment; default: the one of this process.

    Raises:
        OSError: the program cannot be started.
    """
    return subprocess.Popen(
        with_death_signal(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        pass_fds=(link,),
    )
