# SPDX-License-Identifier: Apache-2.0
"""Both clients have the same interface; cancelled tasks, event loops and threads of the asyncio client."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import aclosing

import grpc
import pytest

import qonduit_client
from qonduit_client import ClientClosed, QonduitError, aio
from qonduit_client.retry import Retry
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.unit.client.peer import BELL, JOB, Peer, Refusal, Stream

#: Deprecated properties of the blocking client that methods replace; the next release removes them.
DEPRECATED = ("status", "limits")
AWAY_FOR_LONG = Refusal(grpc.StatusCode.UNAVAILABLE, "away", "DRAINING", 30.0)


def public(of: type) -> dict[str, object]:
    found = {name: inspect.getattr_static(of, name) for name in dir(of) if not name.startswith("_")}
    return found | {"__init__": inspect.getattr_static(of, "__init__")}


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(qonduit_client.Client, aio.Client), (qonduit_client.JobHandle, aio.JobHandle)],
    ids=["Client", "JobHandle"],
)
def test_both_have_the_same_names_and_parameters(blocking: type, asynchronous: type) -> None:
    ours, theirs = public(blocking), public(asynchronous)
    assert ours.keys() == theirs.keys()
    for name, here in ours.items():
        there = theirs[name]
        if name in DEPRECATED:
            assert not callable(here), name
            assert list(inspect.signature(there).parameters) == ["self"], name
        elif isinstance(here, property):
            assert isinstance(there, property), name
        else:
            assert type(here) is type(there), name
            here, there = (getattr(each, "__func__", each) for each in (here, there))  # of a class method
            assert callable(here), name
            assert callable(there), name
            left, right = inspect.signature(here).parameters, inspect.signature(there).parameters
            if name == "__init__":  # the transport is of another kind
                left, right = ({k: (p.kind, p.default) for k, p in each.items()} for each in (left, right))
            assert left == right, name


def test_every_name_of_the_package_is_exported() -> None:
    for name in qonduit_client.__all__:
        assert inspect.isclass(getattr(qonduit_client, name)), name
    assert set(aio.__all__) == {"Client", "JobHandle"}


def patient(peer: Peer) -> aio.Client:
    return aio.Client(peer.target, timeout=20, retry=Retry(first=0.001, most=0.005))


def test_a_task_that_is_cancelled_while_it_follows_ends_its_stream(peer: Peer) -> None:
    peer.streams.append(Stream(send=2, hang=True))

    async def follow(client: aio.Client) -> None:
        async for _ in client.job(JOB).events():
            pass

    async def main() -> None:
        async with patient(peer) as client:
            task = asyncio.create_task(follow(client))
            assert await asyncio.to_thread(peer.hanging.wait, 20)
            assert not peer.let_go.is_set()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(peer.let_go.wait, 20), "the server sees the end of the stream"
            assert await client.job(JOB).state() == "SUCCEEDED", "the client still works"

    asyncio.run(main())
    assert peer.cancelled == []


def test_leaving_a_loop_ends_its_stream(peer: Peer) -> None:
    peer.streams.append(Stream(send=2, hang=True))

    async def main() -> None:
        async with patient(peer) as client, aclosing(client.job(JOB).events()) as events:
            assert [(await anext(events)).sequence for _ in range(2)] == [1, 2]
            await events.aclose()
            assert await asyncio.to_thread(peer.let_go.wait, 20)

    asyncio.run(main())


def test_a_task_that_is_cancelled_in_a_call_or_a_pause_stays_cancelled(peer: Peer) -> None:
    peer.refusals.append(AWAY_FOR_LONG)

    async def main() -> None:
        async with aio.Client(peer.target, timeout=60) as client:
            task = asyncio.create_task(client.job(JOB).job())
            while not peer.called:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_many_tasks_follow_many_handles_at_once(peer: Peer) -> None:
    async def main() -> list[list[int]]:
        async with patient(peer) as client:

            async def follow() -> list[int]:
                return [event.sequence async for event in (await client.run(BELL)).events()]

            return await asyncio.gather(*(follow() for _ in range(20)))

    assert asyncio.run(main()) == [[1, 2, 3, 4, 5, 6]] * 20


def test_a_client_is_made_before_its_loop_and_belongs_to_it(peer: Peer) -> None:
    client = patient(peer)

    async def ask() -> int:
        return (await client.job(JOB).job()).id

    async def close() -> None:
        await client.close()

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(ask()) == JOB
        with pytest.raises(QonduitError, match="another event loop"):
            asyncio.run(ask())
        loop.run_until_complete(close())
        with pytest.raises(ClientClosed):
            loop.run_until_complete(ask())
    finally:
        loop.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda job: job.result(),
        lambda job: job.wait(60),
        lambda job: list(job.events()),
    ],
    ids=["result", "wait", "events"],
)
@pytest.mark.parametrize("away", [False, True], ids=["stream open", "between two attempts"])
def test_closing_ends_the_wait_of_another_thread(
    peer: Peer, connect: Connect, ask: Callable[[object], object], away: bool
) -> None:
    refusal = AWAY_FOR_LONG if away else None
    peer.streams.append(Stream(send=2, hang=not away, refusal=refusal))
    errors: list[BaseException] = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            ask(job)
        except BaseException as error:  # noqa: BLE001 (the test looks at what it is)
            errors.append(error)

    with connect(peer.target, timeout=60) as client:
        job = client.run(BELL)
        thread = threading.Thread(target=wait)
        thread.start()
        assert begun.wait(100)
        if not away:
            assert peer.hanging.wait(100)
        client.close()
        thread.join(100)
        assert not thread.is_alive()
    assert [type(each) for each in errors] == [ClientClosed]
    assert "jobs continue" in str(errors[0])


@pytest.mark.parametrize("name", BOTH_CLIENTS)
def test_every_call_after_close_raises_client_closed(peer: Peer, name: str) -> None:
    with BOTH_CLIENTS[name](peer.target) as client:
        job = client.run(BELL)
        client.close()
        for ask in (job.job, job.cancel, lambda: list(job.events()), lambda: client.run(BELL)):
            with pytest.raises(ClientClosed, match="was closed"):
                ask()
        client.close()
