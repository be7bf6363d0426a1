# SPDX-License-Identifier: Apache-2.0
"""The calls of a vendor's SDK that the server requests from a process, one after another."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterable
from typing import Final

from qonduit.execution.v1.vendor_pb2 import VendorCall, VendorErrorKind, VendorJob, VendorReply
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.process import framing
from qonduit_server.process.redaction import Redaction
from qonduit_server.providers.remote_provider import (
    CallRefused,
    EstimatingSession,
    Fetched,
    GroupingSession,
    RemoteProvider,
    VendorError,
    VendorSession,
)

#: The largest text of an error or of a job, in characters.
_TEXT: Final = 2000
#: The largest id of a vendor's job, in bytes, as in ResolveSubmissionRequest.
_ID_BYTES: Final = 512


class VendorCalls:
    """Answers the calls of the server.

    Args:
        provider: makes the session.
    """

    def __init__(self, provider: RemoteProvider) -> None:
        self._provider = provider
        self._session: VendorSession | None = None

    def serve(self, server: socket.socket) -> None:
        """Answer calls until the other side closes the socket."""
        buffer = framing.FrameBuffer()
        while piece := server.recv(65536):
            for body in buffer.feed(piece):
                call = VendorCall.FromString(body)
                if (left := call.until - time.monotonic()) > 0:
                    # The kernel ends the process then, whatever the SDK does.
                    signal.setitimer(signal.ITIMER_REAL, left)
                # Read after the timer is set, because the process may have been stopped before.
                if call.until <= time.monotonic():
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    not_sent = VendorErrorKind.VENDOR_ERROR_KIND_NOT_SENT
                    late = VendorReply(error=VendorReply.Error(kind=not_sent, message="the call is late"))
                    server.sendall(framing.pack(late))
                    continue
                reply = self.answer(call)
                server.sendall(framing.pack(reply))
                signal.setitimer(signal.ITIMER_REAL, 0)

    def answer(self, call: VendorCall) -> VendorReply:
        """Make one call; return its result or its error, without the credential."""
        reply = VendorReply()
        try:
            if self._session is None:
                self._session = self._connect(call.credential)
            self._make(self._session, call, reply)
            _limit(reply.jobs)
        except VendorError as error:
            reply = VendorReply()
            reply.error.kind = error.kind
            reply.error.code = error.code[:_TEXT]
            reply.error.message = error.message[:_TEXT]
            reply.error.retry_after_seconds = error.retry_after
        except Exception as error:  # noqa: BLE001 - whatever an SDK raises, the server must learn that nothing is known
            reply = VendorReply()
            reply.error.message = f"{type(error).__name__}: {error}"[:_TEXT]
        if call.credential:
            Redaction(call.credential).message(reply)
        return reply

    def _connect(self, credential: str) -> VendorSession:
        """Make the session. An error is a refusal: nothing was sent to the vendor."""
        try:
            return self._provider.connect(credential)
        except VendorError:
            raise
        except Exception as error:
            raise CallRefused(f"the SDK of {self._provider.name} cannot be used: {error}", code="SDK") from error

    def _make(self, session: VendorSession, call: VendorCall, reply: VendorReply) -> None:
        match call.WhichOneof("call"):
            case "submit" if call.submit.submission.group_seconds:
                reply.jobs.append(_grouping(session).open_group(call.submit.submission))
            case "submit" if call.submit.group_id:
                wanted, group = call.submit.submission, call.submit.group_id
                reply.jobs.append(_grouping(session).submit_to_group(call.submit.token, wanted, group))
            case "submit":
                reply.jobs.append(session.submit(call.submit.token, call.submit.submission))
            case "close_group":
                reply.jobs.append(_grouping(session).close_group(call.close_group.group_id))
            case "find":
                found: VendorJob | None = session.find(call.find.token, call.find.device)
                reply.jobs.extend([found] if found is not None else [])
            case "poll":
                reply.jobs.extend(session.poll(call.poll.vendor_ids))
            case "fetch":
                _add_results(reply.results, session.fetch(call.fetch.vendor_id, call.fetch.submission))
            case "estimate":
                reply.costs.extend(_estimating(session).estimate(call.estimate.submissions))
            case "devices":
                reply.devices = self._devices(session).SerializeToString()
            case "cancel":
                reply.jobs.append(session.cancel(call.cancel.vendor_id))

    def _devices(self, session: VendorSession) -> ProviderDescription:
        """Return the devices of the account; those of all accounts if it has no others."""
        list_devices = getattr(session, "devices", None)
        found: ProviderDescription = self._provider.describe() if list_devices is None else list_devices()
        return ProviderDescription(devices=found.devices, calibrations=found.calibrations)


def _add_results(results: VendorReply.Results, fetched: Fetched) -> None:
    results.outcomes.extend(fetched.outcomes)
    results.raw = fetched.raw
    if fetched.cost is not None:
        results.cost.CopyFrom(fetched.cost)
    if fetched.seconds is not None:
        results.seconds = fetched.seconds


def _grouping(session: VendorSession) -> GroupingSession:
    """Return a session that has batches or sessions. Raises CallRefused: it has none."""
    if not isinstance(session, GroupingSession):
        raise CallRefused("this version of the provider has no batches and no sessions", code="SDK")
    return session


def _estimating(session: VendorSession) -> EstimatingSession:
    """Return a session that estimates costs. Raises CallRefused: it does not."""
    if not isinstance(session, EstimatingSession):
        raise CallRefused("this version of the provider estimates no costs", code="SDK")
    return session


def _limit(jobs: Iterable[VendorJob]) -> None:
    """Shorten what a vendor reports about jobs. Raises VendorError: an id is too large to be stored."""
    for job in jobs:
        if (size := len(job.vendor_id.encode())) > _ID_BYTES:
            raise VendorError(f"an id of the vendor has {size} bytes, and at most {_ID_BYTES} are allowed")
        for name in ("word", "cost_unit", "error_code", "error"):
            setattr(job, name, getattr(job, name)[:_TEXT])
