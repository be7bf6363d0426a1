# SPDX-License-Identifier: Apache-2.0
"""Programs with exact reference distributions, in every language on every provider: no result may be silently wrong.

These are all programs of the repository's own corpus; `make corpus` also runs those of MQT Bench where they exist.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry as providers
from tests.corpus import programs
from tests.corpus.programs import OWN, entries, judge
from tests.universal_providers import universal_providers


@pytest.mark.parametrize("name", universal_providers())
def test_corpus(name: str) -> None:
    provider = providers.get(name)
    provider.load()
    device = provider.describe().devices[0].name
    languages = Languages()
    tally: Counter[str] = Counter()
    failures: list[str] = []
    for entry in entries("exact"):
        verdict = judge(entry, languages, provider, device)
        tally[verdict.kind] += 1
        tally["exact"] += verdict.exact
        if verdict.kind != "identical":
            failures.append(f"{entry.file}: {verdict.kind} {verdict.detail}")
    print(f"{name}: {dict(tally)}")
    assert not failures
    assert tally["identical"] >= 264
    assert tally["exact"] > 250


def test_the_corpus_is_whole() -> None:
    indexed = {entry["file"] for entry in json.loads(OWN.read_text())["programs"]}
    stored = {path.relative_to(OWN.parent).as_posix() for path in OWN.parent.glob("own/*/*")}
    references = {file for file in stored if file.endswith((".ref.json", ".inputs.json"))}
    assert stored - references == indexed
    assert {file.removesuffix(".ref.json").removesuffix(".inputs.json") for file in references} <= indexed
    assert all(f"{entry.file}.ref.json" in stored for entry in entries("exact"))
    assert len(list(entries("exact"))) == len(indexed) >= 264


def test_programs_of_mqt_bench_are_run_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(OWN.parent / "own" / "qasm2", tmp_path / "mqtbench")
    found = {"language": "qasm2", "qubits": 2, "check": "exact"}
    listed = [
        {"file": "mqtbench/partial.qasm", "source": "mqtbench", **found},
        {"file": "own/qasm2/partial.qasm", "source": "own", **found},
    ]
    (tmp_path / "INDEX.json").write_text(json.dumps({"programs": listed}))
    monkeypatch.setenv("QONDUIT_CORPUS", str(tmp_path))
    own = [entry.file for entry in entries("exact", "qasm2")]
    *first, last = entries("exact", "qasm2", mqtbench=True)
    assert [entry.file for entry in first] == own
    assert (last.file, last.path) == ("mqtbench/partial.qasm", tmp_path / "mqtbench" / "partial.qasm")


def test_without_mqt_bench_the_corpus_has_only_its_own_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QONDUIT_CORPUS", raising=False)
    monkeypatch.setattr(programs, "REPOSITORY", tmp_path / "alone")
    assert list(entries(mqtbench=True)) == list(entries())
    beside = tmp_path / "shared" / "corpus"
    beside.mkdir(parents=True)
    (beside / "INDEX.json").write_text('{"programs": []}')
    assert programs.mqtbench_index() == beside / "INDEX.json"


def test_a_named_folder_without_an_index_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QONDUIT_CORPUS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="QONDUIT_CORPUS"):
        list(entries(mqtbench=True))
