# SPDX-License-Identifier: Apache-2.0
"""Measure the prose: words per sentence of the documents, and idioms that a reader must learn first, in all files.

`make check` runs it: it fails where a document's sentences are long on average, and where documents or sources
together use more idioms than they may. Lower the bounds when prose is rewritten; they never rise.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENTS: Final = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "clients" / "README.md"],
    key=lambda path: path.as_posix(),
)
SOURCES: Final = ("server", "clients", "protos/qonduit", "tests", "Makefile", "pyproject.toml", ".ci")
#: Words of a sentence on average, in any document of more than `_FEW` sentences.
MOST_WORDS: Final = 17.0
#: Idioms in all documents together, and in all sources.
MOST_IDIOMS_IN_DOCUMENTS: Final = 2
MOST_IDIOMS_IN_SOURCES: Final = 1543
_FEW: Final = 5
_SOURCE_SUFFIXES: Final = {".py", ".proto", ".toml", ".mk", ".go", ".ts", ".java", ".rs", ".cc", ""}

IDIOMS: Final = re.compile(
    r"\b(?:tells?|told|telling|mend(?:s|ed)?|(?:go|goes|gone|went)\s+on\s+with|(?:give|gives|gave|given)\s+back|let(?:s)?\s+go|"
    r"puts?\s+down|look(?:s|ed)?\s+after|(?:is|are)\s+none|anew|so\s+many|somebody|nobody|everybody|whoever)\b",
    re.IGNORECASE,
)
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]+`")
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ROW: Final = re.compile(r"^\s*(?:\||#|<).*$", re.MULTILINE)
_END: Final = re.compile(r"[.!?](?:\s|$)|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s")
_WORD: Final = re.compile(r"[\w'-]*\w[\w'-]*")


def prose(text: str) -> str:
    """Return a document's text without code blocks, tables and headings; inline code counts as one word."""
    text = FENCE.sub("\n\n", text)
    return _ROW.sub("", _LINK.sub(r"\1", _CODE.sub("code", text)))


def sentences(text: str) -> list[int]:
    """Return the number of words of each sentence."""
    counts = (len(_WORD.findall(part)) for part in _END.split(prose(text)))
    return [count for count in counts if count > 1]


def idioms(text: str) -> list[str]:
    """Return the idioms in a document, tables included and code left out."""
    text = _CODE.sub("code", FENCE.sub("", text))
    return [" ".join(found.lower().split()) for found in IDIOMS.findall(text)]


def sources() -> Iterator[Path]:
    """Yield the sources that git knows: programs, protos and what builds them."""
    listed = subprocess.run(["git", "ls-files", "-z", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        # This list of idioms, and programs of others, are no prose of ours.
        if (
            path.suffix in _SOURCE_SUFFIXES
            and path != Path(__file__)
            and not name.startswith("tests/corpus/")
            and path.is_file()
        ):
            yield path


def main() -> int:
    """Print a line for each document; return 1 where a bound is exceeded."""
    wrong = []
    total = 0
    print("words per sentence | idioms | document")
    for path in DOCUMENTS:
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        lengths, found = sentences(text), idioms(text)
        mean = sum(lengths) / max(len(lengths), 1)
        total += len(found)
        print(f"{mean:18.1f} | {len(found):6} | {name} {' '.join(sorted(set(found)))}")
        if mean > MOST_WORDS and len(lengths) > _FEW:
            wrong.append(f"{name}: {mean:.1f} words per sentence, at most {MOST_WORDS:g} are allowed: split some")
    in_sources = {path: len(IDIOMS.findall(path.read_text())) for path in sources()}
    if "--sources" in sys.argv:
        for path, number in in_sources.items():
            if number:
                print(f"{number:6} {path.relative_to(ROOT).as_posix()}")
    everything = sum(in_sources.values())
    print(f"idioms: {total} in documents, {everything} in sources (--sources lists them)")
    for where, number, most in (
        ("documents", total, MOST_IDIOMS_IN_DOCUMENTS),
        ("sources", everything, MOST_IDIOMS_IN_SOURCES),
    ):
        if number > most:
            wrong.append(
                f"{number} idioms in {where}, at most {most} are allowed: write plain words (IDIOMS in tests/prose.py)"
            )
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
