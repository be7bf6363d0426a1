# SPDX-License-Identifier: Apache-2.0
"""Await threads under asyncio and under duet, which Cirq uses."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

import duet.futuretools
import duet.impl

_T = TypeVar("_T")


async def awaited(future: Future[_T]) -> _T:
    """Wait for a thread's future under asyncio or duet, whichever runs the coroutine."""
    try:
        duet.impl.current_task()
    except RuntimeError:
        return await asyncio.wrap_future(future)
    result: _T = await duet.futuretools.AwaitableFuture.wrap(future)
    return result
