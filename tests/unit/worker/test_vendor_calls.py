# SPDX-License-Identifier: Apache-2.0
"""The answers of a vendor's session to the server: they are bounded, and a late call is not made."""

from __future__ import annotations

import socket
import time
from typing import Any

from qonduit.execution.v1.vendor_pb2 import (
    VENDOR_ERROR_KIND_NOT_SENT,
    VENDOR_ERROR_KIND_UNSPECIFIED,
    VendorCall,
    VendorJob,
    VendorReply,
)
from qonduit_server.process import framing
from qonduit_server.worker.vendor_calls import VendorCalls
from tests.vendor_cloud.provider import ByToken


class Talkative(ByToken):
    """Answers each submission with the same job, without a network."""

    def __init__(self, job: VendorJob) -> None:
        self.job = job
        self.submitted = 0

    def connect(self, credential: str) -> Any:
        return self

    def submit(self, token: str, submission: Any) -> VendorJob:
        self.submitted += 1
        return self.job


def answer(job: VendorJob) -> VendorReply:
    return VendorCalls(Talkative(job)).answer(VendorCall(submit=VendorCall.Submit(token="t")))


def test_texts_of_a_job_are_shortened() -> None:
    (job,) = answer(VendorJob(vendor_id="v", word="w" * 10_000, error="e" * 10_000)).jobs
    assert (job.vendor_id, len(job.word), len(job.error)) == ("v", 2000, 2000)


def test_an_id_that_cannot_be_stored_leaves_the_submission_unknown() -> None:
    reply = answer(VendorJob(vendor_id="v" * 513))
    assert not reply.jobs
    assert reply.error.kind == VENDOR_ERROR_KIND_UNSPECIFIED
    assert "513 bytes" in reply.error.message


def test_a_late_call_is_not_made() -> None:
    ours, theirs = socket.socketpair()
    provider = Talkative(VendorJob(vendor_id="v"))
    call = VendorCall(submit=VendorCall.Submit(token="t"), until=time.monotonic() - 1)
    ours.sendall(framing.pack(call))
    ours.shutdown(socket.SHUT_WR)
    with ours, theirs:
        VendorCalls(provider).serve(theirs)
        (body,) = framing.FrameBuffer().feed(ours.recv(65536))
    assert VendorReply.FromString(body).error.kind == VENDOR_ERROR_KIND_NOT_SENT
    assert provider.submitted == 0
