# SPDX-License-Identifier: Apache-2.0
"""The points where the processes of a job at a vendor are killed: each step of the submission ledger."""

from __future__ import annotations

from typing import Final, Literal

from tests.e2e.faults.points import KillPoint

_LEDGER: Final = "qonduit_server.store.jobs.submissions"
_CALLS: Final = "qonduit_server.execution.remote.vendor_processes"


def _point(name: str, module: str, function: str, moment: Literal["before", "after"], often: int) -> KillPoint:
    return KillPoint(name, 6, "server", module, function, moment, often)


#: With the numbers of calls that kill: of the ledger's changes, the intent, the id, and the outcomes.
VENDOR_POINTS: Final = (
    _point("plan-not-committed", _LEDGER, "_PLAN.run", "after", 2),
    _point("plan-committed", _LEDGER, "plan", "after", 2),
    _point("change-not-committed", _LEDGER, "_CHANGE.run", "after", 12),
    _point("change-committed", _LEDGER, "change", "after", 12),
    _point("call-not-made", _CALLS, "VendorProcess.call", "before", 8),
    _point("call-answered", _CALLS, "VendorProcess.call", "after", 16),
    _point("outcomes-read", _LEDGER, "outcomes", "after", 2),
)
#: The same for the process that calls the vendor.
PROCESS_POINTS: Final = (
    _point("request-not-sent", "qonduit_server.worker.vendor_calls", "VendorCalls.answer", "before", 8),
    _point("answer-not-delivered", "qonduit_server.worker.vendor_calls", "VendorCalls.answer", "after", 8),
)
