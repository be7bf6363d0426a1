# SPDX-License-Identifier: Apache-2.0
"""Concurrent refreshes of a provider: one runs at a time, and the calls that wait share the next one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qonduit_server.errors import ResourceExhausted, Unavailable
from qonduit_server.rpc.refreshes import MOST_WAITING, Refreshes
from tests.contract.rpc_fixture import WAIT, until


class Scripted:
    """Refreshes that last until the test ends each; `outcome` is their error."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.outcome: Exception | None = None
        self.end = threading.Semaphore(0)

    def __call__(self, name: str, credential: str, credential_id: int) -> None:
        self.begun.append(name)
        assert self.end.acquire(timeout=WAIT)
        if self.outcome is not None:
            raise self.outcome


def waiting(refreshes: Refreshes, name: str) -> int:
    return refreshes._providers[name, "", 0].waiting


def test_calls_during_a_refresh_share_the_next_one() -> None:
    scripted = Scripted()
    refreshes = Refreshes(scripted)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(refreshes.refresh, "IBM")
        until(lambda: scripted.begun == ["IBM"])
        others = [pool.submit(refreshes.refresh, "IBM") for _ in range(5)]
        until(lambda: waiting(refreshes, "IBM") == 5)
        assert scripted.begun == ["IBM"]
        scripted.end.release()
        first.result(WAIT)
        until(lambda: scripted.begun == ["IBM", "IBM"])
        assert not any(each.done() for each in others)
        scripted.end.release()
        for each in others:
            each.result(WAIT)
    assert scripted.begun == ["IBM", "IBM"]


def test_providers_do_not_wait_for_each_other() -> None:
    scripted = Scripted()
    refreshes = Refreshes(scripted)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(refreshes.refresh, name) for name in ("IBM", "AWS")]
        until(lambda: sorted(scripted.begun) == ["AWS", "IBM"])
        scripted.end.release(2)
        for each in both:
            each.result(WAIT)


def test_an_error_is_raised_in_every_call_and_ends_with_them() -> None:
    scripted = Scripted()
    refreshes = Refreshes(scripted)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(refreshes.refresh, "IBM")
        until(lambda: scripted.begun == ["IBM"])
        others = [pool.submit(refreshes.refresh, "IBM") for _ in range(2)]
        until(lambda: waiting(refreshes, "IBM") == 2)
        scripted.end.release()
        first.result(WAIT)
        until(lambda: len(scripted.begun) == 2)
        scripted.outcome = Unavailable("no answer", reason="PROVIDER_UNAVAILABLE")
        scripted.end.release()
        for each in others:
            with pytest.raises(Unavailable, match="no answer"):
                each.result(WAIT)
    scripted.outcome = None
    scripted.end.release()
    refreshes.refresh("IBM")


def test_calls_above_the_limit_are_refused() -> None:
    scripted = Scripted()
    refreshes = Refreshes(scripted)
    with ThreadPoolExecutor(MOST_WAITING + 1) as pool:
        several = [pool.submit(refreshes.refresh, "IBM")]
        until(lambda: scripted.begun == ["IBM"])
        several += [pool.submit(refreshes.refresh, "IBM") for _ in range(MOST_WAITING)]
        until(lambda: waiting(refreshes, "IBM") == MOST_WAITING)
        with pytest.raises(ResourceExhausted, match="8 calls wait for a refresh of provider IBM"):
            refreshes.refresh("IBM")
        scripted.end.release(2)
        for each in several:
            each.result(WAIT)
