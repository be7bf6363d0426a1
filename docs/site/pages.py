# SPDX-License-Identifier: Apache-2.0
"""What MkDocs is told when it builds the site: the repository's documents as they lie, and pages made from the code.

The documents keep their places ("docs/results.md", "clients/README.md"), so that the links between them lead to the
same pages in the repository and on the site. README.md is the first page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import command_line
import contract
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]

_DOCUMENTS: Final = ("*.md", "docs/**/*.md", "clients/*.md")
_PICTURES: Final = ("docs/*.svg",)
#: Links to what is no document lead to the page made of it.
_INSTEAD: Final = {"protos/qonduit/v1": "reference/contract/index.md", "LICENSE": "index.md"}
_LINK: Final = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the contract's pages under their entry of the navigation."""
    assert config.nav is not None
    reference = config.nav[-1]["Reference"]
    reference[0] = {"The contract": [f"reference/contract/{name}" for name in contract.pages()]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the repository's documents, the contract's pages and the command line's."""
    for pattern in (*_DOCUMENTS, *_PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            place = "index.md" if place == "README.md" else place
            files.append(File.generated(config, place, abs_src_path=str(path)))
    made = {f"contract/{name}": text for name, text in contract.pages().items()}
    made["command-line.md"] = command_line.page()
    for name, text in made.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns links to what is no page: they lead to the page made of it, or are no links here."""
    here = Path(page.file.src_uri).parent

    def turned(link: re.Match[str]) -> str:
        target = _normal(here / link["target"])
        target = "index.md" if target == "README.md" else _INSTEAD.get(target.rstrip("/"), target)
        if Path(target).suffix not in (".md", ".svg"):
            return link["text"]
        return f"[{link['text']}]({'../' * len(here.parts)}{target}{link['anchor'] or ''})"

    return _LINK.sub(turned, markdown)


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
