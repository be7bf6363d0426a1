# SPDX-License-Identifier: Apache-2.0
"""A worker's cache of recently read and compiled programs, so that further jobs with them start at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from qonduit.v1.result_pb2 import Register
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompiledCircuit


@dataclass(frozen=True)
class CachedProgram:
    """A program that was read and compiled."""

    circuit: Circuit
    compiled: CompiledCircuit
    registers: tuple[Register, ...]
    parse_seconds: float
    compile_seconds: float


class ProgramCache:
    """An LRU cache of compiled programs and parts of these, keyed by program, inputs and device.

    Args:
        entries: maximum number of entries.
        source_bytes: maximum total size of their sources; an entry's size grows with its source.
    """

    def __init__(self, entries: int = 1024, source_bytes: int = 8 * 1024**2) -> None:
        self._entries = entries
        self._source_bytes = source_bytes
        self._programs: OrderedDict[tuple[object, ...], tuple[int, Any]] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[object, ...]) -> Any:
        """Return the entry of a key and mark it as recently used; None without one."""
        found = self._programs.get(key)
        if found is None:
            return None
        self._programs.move_to_end(key)
        return found[1]

    def put(self, key: tuple[object, ...], size: int, program: object) -> None:
        """Store a program, or a part of one, whose source has `size` bytes."""
        if size > self._source_bytes // 4:
            return
        before = self._programs.pop(key, None)
        self._size += size - (before[0] if before else 0)
        self._programs[key] = (size, program)
        while len(self._programs) > self._entries or self._size > self._source_bytes:
            _, (gone, _) = self._programs.popitem(last=False)
            self._size -= gone
