# SPDX-License-Identifier: Apache-2.0
"""Names the entries of the file cache that keep how circuits are placed on processors.

Qiskit and Cirq take seconds to place a wide program on a processor: to choose its qubits and to add swaps. An entry's
key is the hash of everything that decides the placement: the program with its inputs and options, its owner, the
device with its calibration, and the versions of the libraries and of this code.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from qonduit.v1.provenance_pb2 import Provenance
from qonduit_client.distribution import DISTRIBUTION
from qonduit_server import ir, languages, providers
from qonduit_server.process.file_cache import CacheEntry, FileCache, code_version


class PlacementCache:
    """Finds entries.

    Args:
        files: the cache of files.
    """

    def __init__(self, files: FileCache) -> None:
        self._files = files

    @cached_property
    def _code(self) -> str:
        folders = [Path(package.__path__[0]) for package in (ir, languages, providers)]
        return code_version([DISTRIBUTION], folders)

    def entry(self, facts: Provenance, *parts: object) -> CacheEntry:
        """Return an entry.

        Args:
            facts: of the device: its name, calibration and versions.
            parts: of the key in `ProgramCache`: texts, bytes, numbers and tuples of these.
        """
        about = repr((self._code, facts.SerializeToString(deterministic=True), parts))
        return CacheEntry(self._files, hashlib.sha256(about.encode("utf-8", "surrogatepass")).hexdigest())
