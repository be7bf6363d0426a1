# SPDX-License-Identifier: Apache-2.0
"""What a program sends while it runs: published values, progress, and what it prints and logs."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from qonduit.v1.event_pb2 import InterimResult, LogLevel, LogLine, Progress
from qonduit_client.program_values import encode
from qonduit_server.program_sandbox.channel import Channel

#: The limits of published values: bytes of each as JSON, and their number.
MAX_PUBLISHED_BYTES: Final = 16 * 1024
MAX_PUBLISHED: Final = 10_000
#: Lines are sent together until they have this size, or this time has passed since the last ones.
_TEXT_BYTES: Final = 2048
_TEXT_SECONDS: Final = 0.1


class UserMessenger:
    """Sends values and progress to the clients that watch the job: the argument `user_messenger` of programs.

    Args:
        channel: the socket to the server.
        output: what the program has printed, which is sent first.
        check: returns how a value violates the schema of published values; empty if it does not.
    """

    def __init__(self, channel: Channel, output: PrintedText, check: Callable[[object], str] = lambda _: "") -> None:
        self._channel = channel
        self._output = output
        self._check = check
        self._published = 0
        #: The last value that was published as the final one.
        self.final: list[Any] = []

    def publish(self, message: object, encoder: object = None, final: bool = False) -> None:
        """Send a value to the clients that watch the job.

        Args:
            message: the value: numbers, texts, lists, dictionaries, NumPy arrays, counts. At most 16 KiB as JSON.
            encoder: not used; programs of qiskit-ibm-runtime pass it.
            final: whether it is the result of the program, unless the program returns another one.

        Raises:
            ValueError: the value is too large, violates the schema `interim_results` of the program's metadata and is
                not the final one, or too many were published.
            TypeError: the value cannot be encoded.
        """
        value = encode(message)
        text = json.dumps(value, allow_nan=False)
        if len(text.encode()) > MAX_PUBLISHED_BYTES:
            raise ValueError(
                f"a published value must have at most {MAX_PUBLISHED_BYTES} bytes as JSON, got {len(text.encode())}: "
                "publish less, and return large values"
            )
        if not final and (violation := self._check(value)):
            raise ValueError(f"the published value violates the schema interim_results of the program: {violation}")
        if self._published >= MAX_PUBLISHED:
            raise ValueError(f"a program publishes at most {MAX_PUBLISHED} values: publish every n-th step")
        self._published += 1
        self._output.flush()
        self._channel.send(interim=InterimResult(value=json_format.Parse(text, Value()), final=final))
        if final:
            self.final = [message]

    def progress(self, share: float, message: str = "") -> None:
        """Report the completed share of the work, from 0 to 1, and what the program does.

        Raises:
            ValueError: the share is not between 0 and 1.
        """
        share = float(share)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"the share must be between 0 and 1, got {share}")
        self._output.flush()
        self._channel.send(progress=Progress(progress=share, message=str(message)[:1000]))


class PrintedText(io.TextIOBase):
    """The standard output and error of a program: each line becomes part of a log event.

    Args:
        channel: the socket to the server.
    """

    encoding = "utf-8"

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._text = ""
        self._lines = ""
        self._sent_at = 0.0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Add text, and send the complete lines if they are many or the last ones were sent long ago."""
        self._text += text
        if "\n" in text:
            lines, _, self._text = self._text.rpartition("\n")
            self._lines += lines + "\n"
        elif len(self._text) > _TEXT_BYTES:
            self._lines, self._text = self._lines + self._text, ""
        if len(self._lines) >= _TEXT_BYTES or (self._lines and time.monotonic() - self._sent_at >= _TEXT_SECONDS):
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)

    def flush(self, *, everything: bool = False) -> None:
        """Send the complete lines; with `everything`, an incomplete one too."""
        text, self._lines = self._lines, ""
        if everything:
            text, self._text = text + self._text, ""
        if text:
            self.log(text.rstrip("\n"), LogLevel.LOG_LEVEL_INFO)

    def log(self, text: str, level: LogLevel) -> None:
        """Send a text as one event, or as several if it is long."""
        clean = text.encode(errors="replace").decode()
        for start in range(0, len(clean), _TEXT_BYTES):
            self._channel.send(log=LogLine(level=level, message=clean[start : start + _TEXT_BYTES]))
        self._sent_at = time.monotonic()


class LogEvents(logging.Handler):
    """Sends the records of Python's logging as log events."""

    def __init__(self, output: PrintedText) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        warns = record.levelno >= logging.WARNING
        self._output.flush()
        level = LogLevel.LOG_LEVEL_WARNING if warns else LogLevel.LOG_LEVEL_INFO
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - arguments of the source's own; the program continues
            text = f"{record.levelname} {record.name}: cannot be formatted: {type(error).__name__}"
        self._output.log(text, level)
