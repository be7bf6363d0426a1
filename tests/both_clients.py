# SPDX-License-Identifier: Apache-2.0
"""Both Python clients, blocking and asyncio, behind one interface: a test is written once for both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Final

from qonduit_client import Client, aio
from qonduit_client.aio.stored_credentials import StoredCredentials
from qonduit_client.aio.stored_projects import StoredProjects

_END: Final = object()
_WAIT: Final = 100.0

#: Creates a client; the arguments are those of `Client`.
Connect = Callable[..., Client]


class Blocking:
    """A blocking proxy for an object of the asynchronous client, whose event loop runs in another thread."""

    def __init__(self, it: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._it = it
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._it, name)
        if isinstance(value, StoredCredentials | StoredProjects):
            return Blocking(value, self._loop)
        if not inspect.ismethod(value):
            return value
        return lambda *args, **options: self._given(value(*args, **options))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def __repr__(self) -> str:
        return repr(self._it)

    def _given(self, value: Any) -> Any:
        if isinstance(value, AsyncIterator):
            return self._taken(value)
        if inspect.iscoroutine(value):
            value = self._run(value)
        return Blocking(value, self._loop) if isinstance(value, aio.JobHandle) else value

    def _taken(self, items: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, _END)

        async def close() -> None:
            await items.aclose()

        try:
            while (item := self._run(following())) is not _END:
                yield item
        finally:
            self._run(close())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_WAIT)


def asynchronous(*args: Any, **options: Any) -> Any:
    """Create an asyncio client with its own event loop."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    client = aio.Client(*args, **options)
    threading.Thread(target=run, daemon=True).start()
    return Blocking(client, loop)


BOTH_CLIENTS: Final[dict[str, Connect]] = {"blocking": Client, "asyncio": asynchronous}
