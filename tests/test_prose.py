# SPDX-License-Identifier: Apache-2.0
"""The prose of the documents and of the contract: short sentences, without the idioms that a newcomer must learn."""

from __future__ import annotations

import re

import pytest

from tests import prose
from tests.prose import ROOT

#: The changelog quotes earlier versions.
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in prose.DOCUMENTS if path.name != "CHANGELOG.md"]
PROTOS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "protos" / "qonduit").rglob("*.proto"))
#: The most words of a sentence, on average over a document.
MOST_WORDS = 16
#: Idioms, and the terms that replace them.
IDIOMS = {
    r"\b(tells?|told|telling)\b": "report, return, emit",
    r"\bwhat (is|was|are|were)\b": "name the thing",
    r"\b(goes|go|going|gone|went) on\b": "continue, resume",
    r"\b(is|are) none\b": "is invalid, does not exist",
    r"\b(said|says?|saying)\b": "contain, report, return",
    r"\b(somebody|nobody|everybody|whoever)\b": "name the component that acts",
    r"\b(mend\w*|anew)\b": "repair; again",
}
_CODE_OR_TARGET = re.compile(r"`[^`]*`|\]\([^)]*\)")
_NOT_PROSE = re.compile(r"\s*(\||#|!|:::|<|---|$)")
_ITEM = re.compile(r"\s*([-*]|\d+\.)\s+")


def _words(document: str) -> str:
    """Return the text of a document without code and the targets of links."""
    return _CODE_OR_TARGET.sub("X", prose.FENCE.sub("", (ROOT / document).read_text()))


def sentences(document: str) -> list[str]:
    """Return the sentences of a document's paragraphs and lists, without its tables and headings."""
    paragraphs = [""]
    for line in _words(document).splitlines():
        if _NOT_PROSE.match(line) or _ITEM.match(line):
            paragraphs.append("")
        if not _NOT_PROSE.match(line):
            paragraphs[-1] += f" {_ITEM.sub('', line, count=1)}"
    return [each for text in paragraphs for each in re.split(r"(?<=[.!?:])\s+(?=[A-Z\[*\"])", text) if each.strip()]


@pytest.mark.parametrize("document", [*DOCUMENTS, *PROTOS])
def test_the_prose_has_no_private_idioms(document: str) -> None:
    text = (ROOT / document).read_text()
    if document.endswith(".proto"):
        text = "\n".join(line.partition("//")[2] for line in text.splitlines())
    else:
        text = _words(document)
    found = {
        match[0]: instead for idiom, instead in IDIOMS.items() for match in re.finditer(idiom, text, re.IGNORECASE)
    }
    assert not found, f"{document}: write otherwise (idiom: term): {found}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sentences_are_short(document: str) -> None:
    found = sentences(document)
    words = sum(len(re.findall(r"[\w'-]+", each)) for each in found)
    assert words <= MOST_WORDS * max(1, len(found)), f"{document}: {words / len(found):.1f} words a sentence"
