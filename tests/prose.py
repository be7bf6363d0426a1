# SPDX-License-Identifier: Apache-2.0
"""Measure the prose: words per sentence of the documents, and idioms in documents and sources.

`make check` runs it. It fails if a document has an idiom or long sentences on average, or if the sources have more
idioms than their bound. The bounds are lowered when prose is rewritten; they never rise. `tests/test_prose.py` checks
the documents, and the comments of the contract, by the same rules.
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
PROTOS: Final = sorted((ROOT / "protos" / "qonduit").rglob("*.proto"))
SOURCES: Final = ("server", "clients", "protos/qonduit", "tests", "Makefile", "pyproject.toml", ".ci")
#: The largest average of words per sentence, in any document of more than `_FEW` sentences.
MOST_WORDS: Final = 16.0
#: The largest number of idioms in all sources together; documents have none.
MOST_IDIOMS_IN_SOURCES: Final = 144
#: Patterns of idioms, and the terms that replace them. `None` is a value and no idiom.
IDIOMS: Final = {
    r"tells?|told|telling": "report, return, emit",
    r"says?|said|saying": "contain, report, return",
    r"what\s+(?:is|was|are|were)": "name the thing",
    r"(?:goes|go|going|gone|went)\s+on": "continue, resume",
    r"(?:gives?|gave|given)\s+back": "return, release",
    r"(?:is|are)\s+(?-i:none)": "is invalid, does not exist",
    r"mend\w*": "repair",
    r"anew": "again",
    r"so\s+many": "this many, or the number",
    r"somebody|nobody|everybody|whoever": "name the component that acts",
    r"lets?\s+go": "release",
    r"puts?\s+down": "record, store",
    r"look(?:s|ed)?\s+after": "manage",
}
_IDIOM: Final = re.compile(rf"\b(?:{'|'.join(IDIOMS)})\b", re.IGNORECASE)
_FEW: Final = 5
_SOURCE_SUFFIXES: Final = {".py", ".proto", ".toml", ".mk", ".go", ".ts", ".java", ".rs", ".cc", ""}
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]+`")
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ROW: Final = re.compile(r"^\s*(?:\||#|<).*$", re.MULTILINE)
_END: Final = re.compile(r"[.!?](?:\s|$)|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s")
_WORD: Final = re.compile(r"[\w'-]*\w[\w'-]*")


def _plain(document: str) -> str:
    """Return a document's text without code blocks and the targets of links; inline code counts as one word."""
    return _LINK.sub(r"\1", _CODE.sub("code", _FENCE.sub("\n\n", document)))


def sentences(document: str) -> list[int]:
    """Return the number of words of each sentence, in a document's paragraphs and lists."""
    counts = (len(_WORD.findall(part)) for part in _END.split(_ROW.sub("", _plain(document))))
    return [count for count in counts if count > 1]


def words_per_sentence(document: str) -> float:
    """Return the average over a document; 0 for one with few sentences."""
    counts = sentences(document)
    return sum(counts) / len(counts) if len(counts) > _FEW else 0.0


def idioms(document: str) -> list[str]:
    """Return the idioms in a document, including its tables and headings, without code."""
    return _found(_plain(document))


def idioms_in_comments(proto: str) -> list[str]:
    """Return the idioms in the comments of a proto."""
    return _found("\n".join(line.partition("//")[2] for line in proto.splitlines()))


def _found(text: str) -> list[str]:
    return [" ".join(found.lower().split()) for found in _IDIOM.findall(text)]


def sources() -> Iterator[Path]:
    """Yield the sources in git: programs, protos and build files."""
    listed = subprocess.run(["git", "ls-files", "-z", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        # The list of idioms above, and programs of third parties, do not count.
        if (
            path.suffix in _SOURCE_SUFFIXES
            and path != Path(__file__)
            and not name.startswith("tests/corpus/")
            and path.is_file()
        ):
            yield path


def main() -> int:
    """Print a line for each document; return 1 if a bound is exceeded."""
    wrong = []
    print("words per sentence | idioms | document")
    for path in DOCUMENTS:
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        mean, found = words_per_sentence(text), idioms(text)
        print(f"{mean:18.1f} | {len(found):6} | {name} {' '.join(sorted(set(found)))}")
        if mean > MOST_WORDS:
            wrong.append(f"{name}: {mean:.1f} words per sentence, at most {MOST_WORDS:g} are allowed: split some")
        if found:
            wrong.append(f"{name}: {len(found)} idioms, none are allowed: use the terms of IDIOMS in tests/prose.py")
    in_sources = {path: len(_found(path.read_text())) for path in sources()}
    if "--sources" in sys.argv:
        for path, number in in_sources.items():
            if number:
                print(f"{number:6} {path.relative_to(ROOT).as_posix()}")
    total = sum(in_sources.values())
    print(f"idioms in sources: {total} (--sources lists them)")
    if total > MOST_IDIOMS_IN_SOURCES:
        wrong.append(
            f"{total} idioms in sources, at most {MOST_IDIOMS_IN_SOURCES} are allowed: "
            "use the terms of IDIOMS in tests/prose.py"
        )
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
