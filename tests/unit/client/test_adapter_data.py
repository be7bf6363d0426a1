# SPDX-License-Identifier: Apache-2.0
"""The client data and labels of adapters: values come back equal, within the limits of the server and of a reader."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest

from qonduit.v1.system_service_pb2 import ServerLimits
from qonduit_client import adapter_data
from qonduit_client.adapter_data import MAX_BYTES, packed, room, unpacked
from qonduit_client.job_labels import labels_of


def test_values_and_metadata_come_back() -> None:
    data = [1, "t", [0.1, None, {"é": True}]]
    assert unpacked(packed(data, [{"a": 1}, None, {2: "no JSON"}])) == (data, [{"a": 1}, None, None])
    assert unpacked(packed(data, [None, {}])) == (data, [])
    assert unpacked(packed([np.float64(0.25), np.int64(3)])) == ([0.25, 3], [])
    assert unpacked(packed(data)) == (data, [])
    assert unpacked(b"") == (None, [])


def test_too_large_data_are_omitted_the_metadata_first() -> None:
    noise = random.Random(1).randbytes(MAX_BYTES).hex()
    assert packed(noise[: MAX_BYTES // 2])
    assert unpacked(packed("data", [noise * 2])) == ("data", [])
    assert packed(noise * 2) == b""


def test_a_reader_is_not_filled_by_small_data_of_a_large_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_data, "_MAX_TEXT_BYTES", 10_000)
    assert packed("0" * 10_000) == b""
    with pytest.raises(ValueError, match="not those of an adapter"):
        unpacked(zlib.compress(b"[" + b"0" * 10_000 + b", []]"))


@pytest.mark.parametrize("data", [b"x", zlib.compress(b"x"), zlib.compress(b"7"), zlib.compress(b"[1]")])
def test_data_of_others_are_value_errors(data: bytes) -> None:
    with pytest.raises(ValueError, match="not those of an adapter"):
        unpacked(data)


def test_client_data_take_an_eighth_of_a_small_request() -> None:
    assert room(ServerLimits(max_request_bytes=16 * 1024**2)) == MAX_BYTES
    assert room(ServerLimits(max_request_bytes=80_000)) == 10_000


def test_thirty_tags_fit_beside_the_labels_of_a_job_and_its_group() -> None:
    tags = [f"tag {number}" for number in range(30)]
    assert labels_of("kind", tags) == {"qonduit.kind": "kind"} | dict.fromkeys(tags, "")
    with pytest.raises(ValueError, match="at most 30 tags, got 31"):
        labels_of("kind", [*tags, "more"])
