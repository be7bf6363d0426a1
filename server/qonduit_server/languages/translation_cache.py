# SPDX-License-Identifier: Apache-2.0
"""The translation cache: IR circuits of slowly read programs on disk, shared by all workers and later server runs.

The key of a program is the hash of all inputs of reading: the source, its language, its inputs, the versions of the
libraries and of the readers, and the owner of the program. So no caller can observe that another one has an equal
program.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from qonduit_client.distribution import DISTRIBUTION
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.signatures import Inputs
from qonduit_server.process.file_cache import FileCache, code_version

#: Distributions that read programs, beside this package.
_LIBRARIES: Final = ("qiskit", "openqasm3", "antlr4-python3-runtime", "quil", "numpy", DISTRIBUTION)


class TranslationCache:
    """Caches programs in files.

    Args:
        files: the cache of files.
    """

    def __init__(self, files: FileCache) -> None:
        self._files = files
        self._readers = readers_version()

    def key(self, language: int, source: str | bytes, inputs: Inputs, more: str = "", scope: str = "") -> str:
        """Return the cache key of a program.

        Args:
            language: its language.
            source: its source.
            inputs: values of its inputs.
            more: further inputs of reading.
            scope: names the owner of the program; other owners have other entries.
        """
        about = json.dumps([self._readers, language, isinstance(source, str), inputs, more, scope], sort_keys=True)
        text = source.encode() if isinstance(source, str) else source
        return hashlib.sha256(about.encode() + b"\0" + text).hexdigest()

    def get(self, key: str) -> Circuit | None:
        """Return the entry of a key and mark it as recently used."""
        data = self._files.get(key)
        if data is None:
            return None
        try:
            return serialization.load(data)
        except Exception:  # noqa: BLE001 - Qiskit may raise anything, and the program can be read instead
            self._files.drop(key)
            return None

    def put(self, key: str, circuit: Circuit) -> None:
        """Store a program."""
        body = serialization.dump(circuit)
        if body is not None:
            self._files.put(key, body)


def readers_version() -> str:
    """Return a hash of the environment: versions of libraries, and the files of readers and IR."""
    folders = Path(__file__).parent, Path(serialization.__file__).parent
    return code_version(_LIBRARIES, folders)
