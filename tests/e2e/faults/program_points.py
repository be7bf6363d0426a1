# SPDX-License-Identifier: Apache-2.0
"""The points where the server of a server program is killed: each step of the submission of a child."""

from __future__ import annotations

from typing import Final, Literal

from tests.e2e.faults.points import KillPoint

_CALLS: Final = "qonduit_server.rpc.program_calls"
_POOL: Final = "qonduit_server.execution.programs.program_pool"


def _point(name: str, module: str, function: str, moment: Literal["before", "after"], often: int) -> KillPoint:
    return KillPoint(name, 2, "server", module, function, moment, often)


#: With the numbers of calls that kill.
PROGRAM_POINTS: Final = (
    _point("call-not-answered", _CALLS, "ProgramSession.call", "before", 8),
    _point("child-not-named", _CALLS, "ProgramSession._prepare", "before", 4),
    _point("child-not-written", "qonduit_server.store.jobs.job_creation", "CREATE.run", "before", 4),
    _point("child-not-committed", "qonduit_server.store.jobs.job_creation", "CREATE.run", "after", 4),
    _point("child-committed", "qonduit_server.store.jobs.job_rows", "create", "after", 4),
    _point("child-not-noted", _CALLS, "ProgramSession._note_child", "before", 4),
    _point("reply-not-sent", _POOL, "ProgramPool._reply", "before", 8),
    _point("reply-sent", _POOL, "ProgramPool._reply", "after", 8),
    _point("output-not-delivered", _POOL, "ProgramPool._exited", "before", 1),
)
