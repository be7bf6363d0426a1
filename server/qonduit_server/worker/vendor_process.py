# SPDX-License-Identifier: Apache-2.0
"""A process that calls a vendor's SDK (`python -m qonduit_server.worker.vendor_process`), one call after another.

It is started as a program, because SDKs start threads, and it has one credential in its life. It ends itself at the
deadline of a call, even if the server cannot end it, so that no call begins or continues after the time at which the
server looks for its effect.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from qonduit_server.process import parent_death
from qonduit_server.process.core_dumps import forbid_core_dumps
from qonduit_server.providers import registry
from qonduit_server.worker.vendor_calls import VendorCalls


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer calls until the server closes the socket."""
    parser = argparse.ArgumentParser(
        prog="qonduit_server.worker.vendor_process", description="Started by the server; not for direct use."
    )
    parser.add_argument("--provider", required=True, help="the provider's name")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the socket to the server")
    options = parser.parse_args(arguments)
    parent_death.set_death_signal(os.getppid())
    forbid_core_dumps()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with socket.socket(fileno=options.socket) as server, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        VendorCalls(registry.get_remote(options.provider)).serve(server)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
