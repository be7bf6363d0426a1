# SPDX-License-Identifier: Apache-2.0
"""The demonstration shows three runs and reports whether they agree."""

from __future__ import annotations

from io import StringIO

import grpc

from qonduit_client.cli.demo import agreed, show_demo, side_by_side
from tests.unit.client.peer import FAILED, Peer, Refusal, counted, history


def test_same_distribution_agrees() -> None:
    assert agreed([{"0x0": 507, "0x3": 493}, {"0x0": 480, "0x3": 520}, {"0x0": 512, "0x3": 488}])
    assert agreed([{"0x0": 999, "0x1": 1}, {"0x0": 1000}])
    assert agreed([{"0x0": 100}, {"0x0": 100000}])


def test_other_distributions_do_not() -> None:
    assert not agreed([{"0x0": 500, "0x3": 500}, {"0x0": 500, "0x1": 500}])
    assert not agreed([{"0x0": 500, "0x3": 500}, {"0x0": 700, "0x3": 300}])
    assert not agreed([{"0x0": 500}, {}])


def test_histograms_stand_side_by_side() -> None:
    lines = side_by_side({"A": {"0x0": 500, "0x3": 500}, "B": {"0x0": 1000}}, width=4).splitlines()
    assert lines[0].split() == ["A", "B"]
    assert lines[1].split() == ["0x0", "500", "██", "1000", "████"]
    assert lines[2].split() == ["0x3", "500", "██", "0"]


def test_shown(peer: Peer) -> None:
    stream = StringIO()
    assert show_demo(peer.target, stream=stream)
    text = stream.getvalue()
    assert text.count("s  succeeded  ") == 3
    assert "All 3 agree" in text
    assert {request.device for request in peer.created} == {
        "IBM/aer_simulator",
        "AWS/local_simulator",
        "GOOGLE/cirq_simulator",
    }


def test_device_that_is_not_there(peer: Peer) -> None:
    peer.refusals.append(Refusal(grpc.StatusCode.NOT_FOUND, "device X does not exist", "NOT_FOUND"))
    stream = StringIO()
    assert not show_demo(peer.target, stream=stream)
    assert "failed: device X does not exist" in stream.getvalue()
    assert "agree" in stream.getvalue()


def test_all_failed(peer: Peer) -> None:
    peer.events, peer.results = history(FAILED), [counted({"0x0": 1})]
    stream = StringIO()
    assert not show_demo(peer.target, stream=stream)
    assert stream.getvalue().count("no gate foo") >= 3
