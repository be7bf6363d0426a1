# SPDX-License-Identifier: Apache-2.0
"""Describe a provider again, in a new process that ends afterwards.

A fork server cannot do this: it has imported the modules of its provider, it has cached their files, and it may be
loading an SDK. The new process speaks the fork server's protocol, whose first message is the description.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping

from qonduit.execution.v1.worker_pb2 import ForkServerReply, ProviderDescription
from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.execution.frame_channel import Channel
from qonduit_server.execution.local.worker_processes import ForkServer, how_it_died
from qonduit_server.execution.stderr_log import Output

#: After the end of a socket, its process ends within this time.
_EXIT_SECONDS = 0.5


def describe_in_new_process(
    fork_server: ForkServer, output: Output, environment: Mapping[str, str] | None, timeout: float
) -> ProviderDescription:
    """Start a fork server, return its description and end it.

    Args:
        fork_server: of the provider; it is not started yet.
        output: the destination of its standard error.
        environment: its environment; default: the one of this process.
        timeout: the time limit in seconds.

    Raises:
        Unavailable: the provider did not describe itself in time; its process is killed.
        FailedPrecondition: the process cannot be started, or ended without a description.
    """
    name = fork_server.name
    try:
        channel = fork_server.launch(output, environment)
    except OSError as error:
        raise _failed(name, f"its process cannot be started: {error}") from error
    try:
        body = _first_frame(channel, time.monotonic() + timeout)
    finally:
        # While the process has not ended, its exit code would be the one of the kill.
        code = fork_server.end(_EXIT_SECONDS if channel.ended else 0.0)
        channel.close()
        output.ended(fork_server.stderr)
    if body is not None:
        return ForkServerReply.FromString(body).description
    if channel.ended:
        raise _failed(name, f"its process {how_it_died(code)}; the server's log contains its output")
    raise Unavailable(
        f"provider {name} did not describe itself within {timeout:g} s: its process was killed, and the known devices "
        "are kept; retry later",
        reason="PROVIDER_UNAVAILABLE",
    )


def _first_frame(channel: Channel, deadline: float) -> bytes | None:
    poll = select.poll()
    poll.register(channel.sock, select.POLLIN)
    while not channel.ended and (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000) and (frames := channel.receive()):
            return frames[0]
    return None


def _failed(name: str, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"provider {name} cannot be described: {why}; the known devices are kept", subject=name, kind="PROVIDER"
    )
