# SPDX-License-Identifier: Apache-2.0
"""The corpus is read twice, the second time from disk in another process: cached programs keep their distributions."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from qonduit_server.ir import serialization
from qonduit_server.languages import registry
from qonduit_server.languages.translation_cache import TranslationCache
from qonduit_server.process.file_cache import FileCache
from qonduit_server.providers import registry as providers
from tests.corpus.programs import LANGUAGES, Entry, entries, judge

#: The largest number of qubits, and the share of the (many) programs in OpenQASM.
QUBITS = 5
SHARE = 2


def cached_programs(languages: registry.Languages) -> list[Entry]:
    """Read programs of every language; return those in the cache, which are all that QPY can represent."""
    some: list[Entry] = []
    for language in LANGUAGES:
        of_language = list(entries("exact", language, QUBITS))
        some += of_language[:: SHARE if language.startswith("qasm") else 1]
    return [entry for entry in some if serialization.dump(entry.read(languages)) is not None]


def run_from_disk(folder: str, programs: list[Entry]) -> list[str]:
    """Run programs with all readers disabled; return the mismatches."""
    languages = registry.Languages(TranslationCache(FileCache(Path(folder), 1 << 28)))
    languages._read = None  # type: ignore[assignment,method-assign]
    provider = providers.get("IBM")
    provider.load()
    device = provider.describe().devices[0].name
    wrong = []
    for entry in programs:
        verdict = judge(entry, languages, provider, device)
        if verdict.kind != "identical":
            wrong.append(f"{entry.file}: {verdict.kind} {verdict.detail}")
    return wrong


def test_a_corpus_read_from_disk_matches_its_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_COSTLY_SECONDS", -1.0)
    programs = cached_programs(registry.Languages(TranslationCache(FileCache(tmp_path, 1 << 28))))
    assert len(programs) > 120
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(run_from_disk, (str(tmp_path), programs)) == []
