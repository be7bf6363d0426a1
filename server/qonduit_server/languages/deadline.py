# SPDX-License-Identifier: Apache-2.0
"""A bound on the time that code takes which knows of none: readers, and the SDKs' parsers that they call."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Where something swallows the exception, it is raised again after so many seconds.
_AGAIN_SECONDS: Final = 0.1


class DeadlineExceeded(BaseException):
    """Raised within the code that takes too long. No Exception, so that no parser takes it for one of its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `DeadlineExceeded` in the body if it takes longer than this; 0 means no limit.

    Signals reach the main thread alone, in which workers do all their work; in other threads there is no limit. What
    the exception interrupts may be left half done, so the process should not be used for long afterwards.
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
        finally:  # which may be interrupted itself, and then the one around it is not
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
