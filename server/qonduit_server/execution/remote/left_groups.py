# SPDX-License-Identifier: Apache-2.0
"""Closes the batches and sessions at vendors that were left open, because a server or a worker was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from qonduit.execution.v1.vendor_pb2 import VendorCall, VendorErrorKind, VendorJobState, VendorReply, VendorTerms
from qonduit_server.device_prices import add_computed_cost
from qonduit_server.errors import Unavailable
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import left_groups
from qonduit_server.store.jobs.left_groups import LeftGroup

#: How often a server looks for them.
_LOOK_SECONDS: Final = 3.0

_log = structlog.get_logger("qonduit.remote")


class LeftGroups:
    """Closes left batches and sessions, in a thread.

    Args:
        db: the database with their rows.
        call: calls the vendor of a provider with a credential, within some seconds.
        terms: returns the terms of a provider's vendor.
        providers: those of this server.
        on_fault: called when the thread has ended by a fault.
    """

    def __init__(
        self,
        db: Database,
        call: Callable[[str, str, float, VendorCall], VendorReply],
        terms: Callable[[str], VendorTerms],
        providers: Collection[str],
        on_fault: Callable[[], None],
    ) -> None:
        self._db = db
        self._call = call
        self._terms = terms
        self._providers = providers
        self._on_fault = on_fault
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vendor-groups", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Make no further calls. What a call does not record is taken again later, and closing again has no effect."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, for some seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                with suppress(Unavailable):  # the database is away
                    self._look()
                self._stopping.wait(_LOOK_SECONDS)
        finally:
            if not self._stopping.is_set():
                _log.error("the thread that closes batches and sessions has ended")
                self._on_fault()

    def _look(self) -> None:
        for group in left_groups.take_due(self._db, self._providers):
            if not self._stopping.is_set():
                self._close(group)

    def _close(self, group: LeftGroup) -> None:
        provider = group.device.partition("/")[0]
        terms, call = self._terms(provider), VendorCall()
        call.close_group.group_id = group.vendor_id
        reply = self._call(provider, group.secret, terms.call_seconds, call)
        found = reply.jobs[0] if reply.jobs else None
        ended = found is not None and found.state == VendorJobState.VENDOR_JOB_STATE_DONE
        refused = reply.error.kind == VendorErrorKind.VENDOR_ERROR_KIND_REFUSED
        _log.info(
            "closed what a lost server had opened",
            job_id=group.job_id,
            group=group.vendor_id,
            state=found.word if found is not None else reply.error.message,
        )
        if ended or refused:
            if found is not None:
                add_computed_cost(found, group.request)
            left_groups.report(self._db, group.job_id, found, None)
        else:
            again = max(reply.error.retry_after_seconds, terms.max_poll_seconds)
            left_groups.report(self._db, group.job_id, found, timedelta(seconds=again))
