# SPDX-License-Identifier: Apache-2.0
"""A time limit for code that has none of its own: readers, and the SDKs' parsers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Interval in seconds after which a swallowed exception is raised again.
_AGAIN_SECONDS: Final = 0.1


class DeadlineExceeded(BaseException):
    """Raised within code that exceeds its time limit. Not an Exception, so that parsers do not catch it."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `DeadlineExceeded` in the body if it exceeds this time; 0 means no limit.

    Signals reach only the main thread, in which workers do all their work; other threads have no limit. The exception
    may leave interrupted code in an inconsistent state, so the process should be replaced soon.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    over = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if not over:
            raise DeadlineExceeded

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = (0.0, 0.0)
    try:
        timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
        try:
            yield
        finally:  # this block may be interrupted too; then the outer one is not
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
