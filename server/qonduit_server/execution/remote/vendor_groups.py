# SPDX-License-Identifier: Apache-2.0
"""Closes the batches and sessions that the parts of jobs share at vendors.

A session is charged while it is open. So it is closed as soon as no further part of its job is submitted, and before
the end of the job is reported: after a crash, the next server has the job and closes it. The vendor itself ends one
that cannot be closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.vendor_pb2 import VendorCall, VendorErrorKind, VendorJob, VendorJobState, VendorReply
from qonduit.v1.job_pb2 import VendorMode
from qonduit_server.capabilities import VENDOR_MODES
from qonduit_server.device_prices import add_computed_cost
from qonduit_server.execution.remote.part_steps import PartSteps
from qonduit_server.execution.remote.remote_jobs import Part, RemoteJob
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import State

#: The end of a job waits for the vendor for this number of calls.
_CALLS: Final = 6
_REFUSED: Final = VendorErrorKind.VENDOR_ERROR_KIND_REFUSED
_DONE: Final = VendorJobState.VENDOR_JOB_STATE_DONE

_log = structlog.get_logger("qonduit.remote")


class VendorGroups:
    """Closes batches and sessions.

    Args:
        steps: the ground of all steps.
    """

    def __init__(self, steps: PartSteps) -> None:
        self._steps = steps

    def close_early(self, job: RemoteJob) -> None:
        """Close the group of a job whose parts all are at the vendor, if it makes no further calls."""
        group = job.group
        if group is None or not group.vendor_id or group.done or group.closed or not job.is_last_call:
            return
        if all(part.vendor_id or part.done for part in job.own_parts):
            group.closed = True
            self._steps.schedule("close", job, partial(self._close_early, group))

    def _close_early(self, group: Part) -> None:
        if group.job.ended:
            return
        reply = self._call(group)
        if reply is None or (reply.HasField("error") and reply.error.kind != _REFUSED):
            wait = max(self._steps.pause(group.job), self._steps.line(group.job).terms.poll_seconds)
            self._steps.schedule("close", group.job, partial(self._close_early, group), wait)
        elif reply.jobs:
            found = reply.jobs[0]
            found.ClearField("cost")  # they are not final
            found.ClearField("seconds")
            self._steps.change(group, expects=(State.SUBMITTED,), job=found, shown=True)

    def close(self, job: RemoteJob, on_closed: Callable[[], None]) -> None:
        """Close the group of a job that ends, then call `on_closed`."""
        group = job.group
        assert group is not None
        self._steps.schedule("close", job, partial(self._close, group, on_closed, 1))

    def _close(self, group: Part, on_closed: Callable[[], None], number: int) -> None:
        """Close a group, with the call of this number."""
        steps, entry = self._steps, self._steps.entry(group)
        if entry.state == State.SUBMITTED:
            reply, last = self._call(group), number >= _CALLS
            wait = max(steps.pause(group.job), steps.line(group.job).terms.poll_seconds)
            refused = reply is not None and reply.HasField("error") and reply.error.kind == _REFUSED
            ended = reply is not None and bool(reply.jobs) and reply.jobs[0].state == _DONE
            if not refused and not ended and not last:
                steps.schedule("close", group.job, partial(self._close, group, on_closed, number + 1), wait)
                return
            self._record(group, reply)
        elif entry.state == State.SUBMITTING and submissions.now(steps.db) < entry.deadline:
            # Its opening is under way: the vendor's answer contains the id.
            wait = steps.line(group.job).terms.poll_seconds
            steps.schedule("close", group.job, partial(self._close, group, on_closed, number), wait)
            return
        elif entry.state in (State.PLANNED, State.SUBMITTING):
            # Without jobs, it is not charged.
            steps.change(group, expects=(State.PLANNED, State.SUBMITTING), state=State.DONE)
        on_closed()

    def _record(self, group: Part, reply: VendorReply | None) -> None:
        """Store what the vendor reports at last."""
        if reply is not None and reply.jobs:
            expects = (State.SUBMITTED, State.DONE)
            add_computed_cost(reply.jobs[0], self._steps.request(group))
            self._steps.change(group, expects=expects, state=State.DONE, job=reply.jobs[0], shown=True)
            group.done = True
            return
        why = reply.error.message if reply is not None else "it accepts no calls now"
        word = VENDOR_MODES.get(group.job.mode, "group")
        message = (
            f"{group.job.account.provider} has not closed the {word} {group.vendor_id}, and ends it by itself: {why}"
        )
        _log.warning(
            "a batch or a session is not closed", job_id=group.job.holder.job_id, group=group.vendor_id, why=why
        )
        self._steps.change(group, message=message)

    def _call(self, group: Part) -> VendorReply | None:
        """Ask the vendor to close a group; None while its account pauses."""
        line = self._steps.line(group.job)
        if self._steps.pause(group.job) > 0:
            return None
        call = VendorCall()
        call.close_group.group_id = group.vendor_id
        reply = self._steps.call(line, call)
        if reply.HasField("error") and reply.error.kind != _REFUSED:
            line.pause.failed(self._steps.clock(), reply.error.retry_after_seconds, self._steps.chance)
        return reply


def clear_own_cost(job: RemoteJob, found: VendorJob) -> None:
    """Remove the cost from what a vendor reports about a part of a session: the session alone is charged."""
    if job.mode == VendorMode.VENDOR_MODE_SESSION and found.HasField("cost"):
        found.cost = found.seconds = 0.0
