# SPDX-License-Identifier: Apache-2.0
"""A job's bar shows its events; it updates in a notebook's kernel only, and ends with its job or its client."""

from __future__ import annotations

import pickle
import threading

import grpc
import pytest

from qonduit_client import notebook
from qonduit_client.client import Client
from qonduit_client.notebook import Bar
from tests.unit.client.peer import BELL, FAILED, JOB, QUEUED, Peer, Refusal, Stream, history, job_at


@pytest.fixture
def connect() -> type[Client]:
    """The asyncio client's bar needs an event loop; the executed notebook tests it."""
    return Client


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the texts that a kernel would show, in order."""
    pages: list[str] = []

    def display(bar: Bar) -> object:
        pages.append(bar.html())
        return lambda now: pages.append(now.html())

    monkeypatch.setattr(notebook, "display", display)
    return pages


def finish() -> None:
    """Wait for the thread of every bar."""
    for thread in threading.enumerate():
        if thread.name.startswith("bar of job"):
            assert thread.daemon
            thread.join(100)
            assert not thread.is_alive()


def test_a_bar_shows_state_share_message_and_seconds() -> None:
    bar = Bar(JOB, job_at(QUEUED))
    assert "QUEUED" in bar.html()
    events = history()
    events[4].progress.progress = 0.5
    events[4].progress.message = "running <1 of 2>"
    for event in events[:5]:
        bar.update(event)
    html = bar.html()
    for said in ("Job 7", "RUNNING", "50%", "width:50%", "0.2 s", "running &lt;1 of 2&gt;"):
        assert said in html
    bar.update(events[5])
    assert "SUCCEEDED" in bar.html()
    assert "100%" in bar.html()


def test_a_failed_job_shows_the_reason() -> None:
    bar = Bar(JOB)
    for event in history(FAILED):
        bar.update(event)
    assert "no gate foo (line 4, column 1) [PROGRAM/SYNTAX_ERROR]" in bar.html()


def test_outside_a_kernel_a_handle_is_text_or_a_static_bar(client: Client) -> None:
    job = client.run(BELL)
    with pytest.raises(NotImplementedError):  # IPython then falls back to another form
        job._ipython_display_()
    assert repr(job) == f"<JobHandle 7: QUEUED, 0%, IBM/aer_simulator, 1000 shots, 0.0 s; at {client.target}>"
    assert repr(client.job(JOB)) == f"<JobHandle 7 at {client.target}>"
    assert "QUEUED" in job._repr_html_()
    assert "unknown" in client.job(JOB)._repr_html_()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bar of job")]


def test_a_bar_moves_until_its_job_ends(client: Client, shown: list[str]) -> None:
    client.run(BELL)._ipython_display_()
    finish()
    assert "QUEUED" in shown[0]
    assert "SUCCEEDED" in shown[-1]
    assert len(shown) >= len(history())


def test_a_job_that_has_ended_needs_no_thread(client: Client, shown: list[str]) -> None:
    job = client.job(JOB)
    job.wait(100)
    job._ipython_display_()
    assert len(shown) == 1
    assert "SUCCEEDED" in shown[0]
    assert "100%" in shown[0]


def test_closing_the_client_ends_the_bar_quietly(peer: Peer, client: Client, shown: list[str]) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    client.run(BELL)._ipython_display_()
    assert peer.hanging.wait(100)
    client.close()
    finish()
    assert "no longer followed: the client was closed" in shown[-1]


def test_an_error_is_shown_in_the_bar(peer: Peer, client: Client, shown: list[str]) -> None:
    peer.streams.append(Stream(send=1, refusal=Refusal(grpc.StatusCode.NOT_FOUND, "it was <deleted>", "NOT_FOUND")))
    client.run(BELL)._ipython_display_()
    finish()
    assert "it was &lt;deleted&gt;" in shown[-1]


def test_objects_with_a_connection_are_not_pickled_and_results_are(client: Client) -> None:
    job = client.run(BELL)
    for held in (job, client):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(held)
    result = pickle.loads(pickle.dumps(job.result(100)))  # noqa: S301 (our own)
    assert result.counts == {"0x0": 507, "0x3": 493}
    assert result.registers == [("c", 2)]
