# SPDX-License-Identifier: Apache-2.0
"""An outbox sends in its own thread, loses what does not fit or is refused, and counts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from qonduit_server.telemetry import outbox as module
from qonduit_server.telemetry.outbox import Outbox

WAIT = 60.0


class Sender:
    """Records batches; waits for `release`, and refuses them while `accepts` is False."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.accepts = True
        self.release = threading.Event()
        self.entered = threading.Event()
        self.changed = threading.Condition()
        self.batches: list[list[int]] = []
        self.lost = 0
        if not blocked:
            self.release.set()

    def send(self, batch: Sequence[int]) -> bool:
        self.entered.set()
        assert self.release.wait(WAIT)
        with self.changed:
            self.batches.append(list(batch))
            self.changed.notify_all()
        return self.accepts

    def lose(self, count: int) -> None:
        with self.changed:
            self.lost += count
            self.changed.notify_all()

    def wait_for(self, reached: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, WAIT)


def outbox_of(sender: Sender) -> Outbox[int]:
    return Outbox("traces", sender.send, sender.lose, 0.01)


def test_items_are_sent_in_order_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 3)
    sender = Sender(blocked=True)
    outbox = outbox_of(sender)
    for number in range(8):
        outbox.put(number)
    sender.release.set()
    outbox.stop(WAIT)
    assert [number for batch in sender.batches for number in batch] == list(range(8))
    assert max(map(len, sender.batches)) <= 3
    assert sender.lost == 0


def test_a_collector_that_does_not_answer_delays_no_caller_and_its_losses_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    sender = Sender(blocked=True)
    outbox = outbox_of(sender)
    outbox.put(-1)
    assert sender.entered.wait(WAIT)
    for number in range(1000):  # would wait for ever if it waited for the collector
        outbox.put(number)
    assert sender.lost == 900
    sender.release.set()
    outbox.stop(WAIT)
    assert [number for batch in sender.batches for number in batch] == [-1, *range(100)]


def test_refused_items_are_lost_and_later_ones_are_sent() -> None:
    sender = Sender()
    sender.accepts = False
    with capture_logs() as lines:
        outbox = outbox_of(sender)
        outbox.put(1)
        sender.wait_for(lambda: sender.lost == 1)
        outbox.put(2)
        sender.wait_for(lambda: sender.lost == 2)
        sender.accepts = True
        outbox.put(3)
        sender.wait_for(lambda: [3] in sender.batches)
        outbox.stop(WAIT)
    assert sender.lost == 2
    # One line for each change, not for each failure.
    assert [(line["event"], line["signal"]) for line in lines] == [
        ("collector unavailable", "traces"),
        ("collector available", "traces"),
    ]


def test_a_stop_waits_only_for_its_time() -> None:
    sender = Sender(blocked=True)
    outbox = outbox_of(sender)
    outbox.put(1)
    assert sender.entered.wait(WAIT)
    began = time.monotonic()
    outbox.stop(0.05)
    assert time.monotonic() - began < WAIT / 2
    sender.release.set()


def test_what_is_produced_at_an_interval_is_sent() -> None:
    sender = Sender()
    outbox = Outbox("metrics", sender.send, sender.lose, 0.01, lambda: [7])
    sender.wait_for(lambda: len(sender.batches) >= 2)
    outbox.stop(WAIT)
    assert sender.batches[0] == [7]
