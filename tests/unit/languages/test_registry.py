# SPDX-License-Identifier: Apache-2.0
"""The registry: every entry's claims hold, and a missing library affects only its own language."""

from __future__ import annotations

import sys

import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError, ProviderError
from qonduit_server.languages.registry import LANGUAGES, Languages, name
from qonduit_server.rpc.program_errors import BINARY_LANGUAGES
from tests import example_programs


@pytest.mark.parametrize("language", sorted(example_programs.programs()), ids=name)
def test_each_language_is_read_and_written_as_its_entry_declares(language: AssemblerLanguage) -> None:
    languages = Languages()
    source = example_programs.programs()[language]
    binary = isinstance(source, bytes)
    assert LANGUAGES[language].binary == binary
    text, data = ("", source) if isinstance(source, bytes) else (source, b"")
    circuit = languages.read(language, text, data, {"theta": example_programs.THETA})
    assert [(each.name, len(each.bits)) for each in circuit.registers] == example_programs.registers_of(language)
    if LANGUAGES[language].writer:
        assert isinstance(languages.write(language, circuit).source, bytes) == binary


def test_the_server_knows_the_binary_languages() -> None:
    # The server process may not import the registry.
    assert {language for language, entry in LANGUAGES.items() if entry.binary} == BINARY_LANGUAGES


def test_all_translations_are_listed_with_their_cost() -> None:
    description = Languages().describe()
    edges = {each.name: each for each in description.translations}
    assert {"qasm3_to_hub", "hub_to_qasm3", "qiskit_to_hub", "hub_to_cirq", "quil_to_hub"} <= set(edges)
    assert all(each.cost_milliseconds > 0 for each in description.translations)
    assert all(bool(each.from_language) != bool(each.to_language) for each in description.translations)
    for language in description.languages:
        short = name(language.language).lower()
        assert language.title
        assert language.readable == (f"{short}_to_hub" in edges)
        assert language.writable == (f"hub_to_{short}" in edges)


def test_a_missing_library_keeps_no_other_language_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [each for each in sys.modules if each.startswith("qonduit_server.languages.quil")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "quil", None)
    monkeypatch.setitem(sys.modules, "quil.program", None)
    languages = Languages()
    languages.load()
    assert languages.read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, example_programs.QASM2, b"", {}).registers
    with pytest.raises(ProviderError, match=r"install \"qonduit-quantum\[worker\]\"") as raised:
        languages.read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL, example_programs.QUIL, b"", {})
    assert raised.value.reason == "READER_MISSING"


def test_an_unknown_language_is_refused_naming_the_known() -> None:
    for call in (lambda: Languages().read(99, "x", b"", {}), lambda: Languages().write(99, None)):  # type: ignore[arg-type]
        with pytest.raises(ProgramError, match="QASM3") as raised:
            call()
        assert raised.value.reason == "UNSUPPORTED_LANGUAGE"
