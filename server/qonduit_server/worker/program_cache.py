# SPDX-License-Identifier: Apache-2.0
"""The programs that a worker has read and compiled lately, so that the next job with one of them runs at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from qonduit.v1.result_pb2 import Register
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompiledCircuit


@dataclass(frozen=True)
class CachedProgram:
    """A program, read and compiled, as the cache keeps it."""

    circuit: Circuit
    compiled: CompiledCircuit
    registers: tuple[Register, ...]
    parse_seconds: float
    compile_seconds: float


class ProgramCache:
    """Programs that were read and compiled lately, by what they are and where they run; the oldest go first.

    Args:
        entries: how many are kept at most.
        source_bytes: how long their sources may be together; what is kept of a program grows with its source.
    """

    def __init__(self, entries: int = 1024, source_bytes: int = 8 * 1024**2) -> None:
        self._entries = entries
        self._source_bytes = source_bytes
        self._kept: OrderedDict[tuple[object, ...], tuple[int, CachedProgram]] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[object, ...]) -> CachedProgram | None:
        """Return the entry of a key, which then counts as used."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: tuple[object, ...], size: int, kept: CachedProgram) -> None:
        """Keep a program whose source has `size` bytes."""
        if size > self._source_bytes // 4:
            return
        before = self._kept.pop(key, None)
        self._size += size - (before[0] if before else 0)
        self._kept[key] = (size, kept)
        while len(self._kept) > self._entries or self._size > self._source_bytes:
            _, (gone, _) = self._kept.popitem(last=False)
            self._size -= gone
