# SPDX-License-Identifier: Apache-2.0
"""The prose of the documents and of the contract: short sentences without idioms, as `tests/prose.py` measures them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prose


def _name(path: Path) -> str:
    return path.relative_to(prose.ROOT).as_posix()


@pytest.mark.parametrize("document", prose.DOCUMENTS, ids=_name)
def test_a_document_has_no_idioms(document: Path) -> None:
    assert not prose.idioms(document.read_text()), "use the terms of IDIOMS in tests/prose.py"


@pytest.mark.parametrize("proto", prose.PROTOS, ids=_name)
def test_comments_of_the_contract_have_no_idioms(proto: Path) -> None:
    assert not prose.idioms_in_comments(proto.read_text()), "use the terms of IDIOMS in tests/prose.py"


@pytest.mark.parametrize("document", prose.DOCUMENTS, ids=_name)
def test_sentences_are_short(document: Path) -> None:
    assert prose.words_per_sentence(document.read_text()) <= prose.MOST_WORDS
