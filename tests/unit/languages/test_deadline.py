# SPDX-License-Identifier: Apache-2.0
"""Reading has a time limit, even if code in between swallows the exception, and only while it reads."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import LimitError
from qonduit_server.languages.deadline import DeadlineExceeded, at_most
from qonduit_server.languages.registry import Languages

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
#: Takes several seconds to read.
LONG = "OPENQASM 2.0;\n" + "".join(f"gate g{k} a {{ U(0,0,{k}) a; }}\n" for k in range(20_000)) + "qreg q[1];\n"


def test_endless_code_is_ended_even_if_it_catches_the_exception() -> None:
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    caught = []

    def stubborn() -> None:
        while len(caught) < 3:
            with contextlib.suppress(DeadlineExceeded):
                while True:
                    pass
            caught.append(True)
        while True:
            pass

    with pytest.raises(DeadlineExceeded), at_most(0.05):
        stubborn()
    assert len(caught) == 3
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGALRM) is before


def test_quick_code_and_code_without_a_limit_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with at_most(1000.0):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    with at_most(0.0):
        assert signal.getsignal(signal.SIGALRM) is before
    done = []

    def elsewhere() -> None:
        with at_most(0.001):
            done.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(60)
    assert done == [True]


# A garbage collection in the meantime may swallow it once.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_error_of_slow_reading_names_the_setting() -> None:
    languages = Languages(read_seconds=0.2)
    with pytest.raises(LimitError, match=r"longer than 0\.2 s \(max_read_seconds\)") as caught:
        languages.read(QASM2, LONG, b"", {})
    assert caught.value.reason == "READ_TIME"
    assert languages.interrupted
    other = Languages(read_seconds=100.0)
    assert other.read(QASM2, "OPENQASM 2.0; qreg q[1];", b"", {}).quantum.num_qubits == 1
    assert not other.interrupted
