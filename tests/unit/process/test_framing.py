# SPDX-License-Identifier: Apache-2.0
"""Frames arrive whole, however a socket cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qonduit.execution.v1.worker_pb2 import Loaded
from qonduit_server.process.framing import FrameBuffer, pack


@given(st.lists(st.text(max_size=300), max_size=10), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_packed_frames_are_unpacked_however_they_are_split(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(pack(Loaded(error=text)) for text in texts)
    buffer, turn = FrameBuffer(), 0
    bodies: list[bytes] = []
    while stream:
        size = cuts[turn % len(cuts)]
        bodies += buffer.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert [Loaded.FromString(body).error for body in bodies] == texts


def test_large_frames_are_unpacked_between_small_ones() -> None:
    texts = ["small", "x" * 3_000_000, "y" * 1_500_000, "", "z" * 2_000_000, "small again"]
    for size in (1 << 18, 1_000_003, 1 << 23):
        stream = b"".join(pack(Loaded(error=text)) for text in texts)
        buffer = FrameBuffer()
        bodies = [body for start in range(0, len(stream), size) for body in buffer.feed(stream[start : start + size])]
        assert [Loaded.FromString(body).error for body in bodies] == texts
