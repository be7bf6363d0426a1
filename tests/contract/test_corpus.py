# SPDX-License-Identifier: Apache-2.0
"""Programs with exact reference distributions, in every language on every provider: none may be silently wrong.

This is the short form: small circuits, and only some of them on the slower simulators; `make corpus` runs all of them.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry as providers
from tests.corpus.programs import LANGUAGES, corpus, entries, judge

#: Qubits at most, and which share of the programs in OpenQASM, of which there are many.
SHORT = {"IBM": (6, 1), "AWS": (5, 3), "GOOGLE": (5, 3)}


@pytest.fixture(scope="module", autouse=True)
def _corpus() -> None:
    try:
        corpus()
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.parametrize("name", sorted(providers.PROVIDERS))
def test_corpus(name: str) -> None:
    provider = providers.get(name)
    provider.load()
    device = provider.describe().devices[0].name
    languages = Languages()
    qubits, share = SHORT[name]
    tally: Counter[str] = Counter()
    failures: list[str] = []
    for language in LANGUAGES:
        chosen = list(entries("exact", language, qubits))
        for entry in chosen[:: share if language.startswith("qasm") else 1]:
            verdict = judge(entry, languages, provider, device)
            tally[verdict.kind] += 1
            tally["exact"] += verdict.exact
            if verdict.kind != "identical":
                failures.append(f"{entry.file}: {verdict.kind} {verdict.detail}")
    print(f"{name}: {dict(tally)}")
    assert not failures
    assert tally["identical"] > 150
    assert tally["exact"] > 100
