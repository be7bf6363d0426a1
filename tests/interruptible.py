# SPDX-License-Identifier: Apache-2.0
"""Commands that Ctrl-C interrupts, as on a terminal."""

from __future__ import annotations

from typing import Final

#: Put before a command: tests run in the background ignore SIGINT, and children inherit that. `preexec_fn` would need a
#: fork of this process, which uses gRPC: its poller also runs in the forked child, where `subprocess` closes all
#: descriptors before it executes the command. In 1 of 20 forks the poller then aborts the child.
INTERRUPTIBLE: Final = ("env", "--default-signal=INT")
