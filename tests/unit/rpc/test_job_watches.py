# SPDX-License-Identifier: Apache-2.0
"""The bytes sent on streams."""

from __future__ import annotations

import pytest

from qonduit.v1.event_pb2 import JobEvent, LogLine
from qonduit.v1.job_service_pb2 import RunJobResponse, WatchJobResponse
from qonduit_server.rpc.watch import framed


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_framed_event_is_the_response_that_protobuf_makes(size: int) -> None:
    event = JobEvent(job_id=3, sequence=7, log=LogLine(message="x" * size))
    sent = framed(event.SerializeToString())
    assert sent == RunJobResponse(event=event).SerializeToString()
    assert WatchJobResponse.FromString(sent).event == event


def test_every_length_around_the_steps_of_a_varint() -> None:
    for size in (*range(300), *range(16_300, 16_500)):
        sent = framed(b"\x00" * size)
        length, shift, at = 0, 0, 1
        while True:
            byte = sent[at]
            length |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not byte & 0x80:
                break
        assert (sent[0], length, len(sent) - at) == (0x0A, size, size)
