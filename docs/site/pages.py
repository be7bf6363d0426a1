# SPDX-License-Identifier: Apache-2.0
"""The MkDocs hooks of the site: they add the repository's documents and the pages that are generated from the code.

The documents keep their paths ("docs/results.md", "clients/README.md"), so that links between them work in the
repository and on the site. docs/site/home.md is the landing page; links to README.md lead to it.
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
_HOME: Final = "docs/site/home.md"
#: Paths on the site of files that have another path in the repository.
_SITE_PATHS: Final = {
    _HOME: "index.md",
    "README.md": "index.md",
    "LICENSE": "index.md",
    "protos/qonduit/v1": "reference/contract/index.md",
    "docs/site/assets/logo.svg": "logo.svg",
}
_LINK: Final = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the contract's pages under their entry of the navigation: services first, then messages."""
    assert config.nav is not None
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    names = [name for name in contract.pages() if name != "index.md"]
    services = [f"reference/contract/{name}" for name in names if contract.is_service(name)]
    messages = [f"reference/contract/{name}" for name in names if not contract.is_service(name)]
    reference[0] = {"Contract": ["reference/contract/index.md", {"Services": services}, {"Messages": messages}]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's documents, the contract's pages and the page of the command line."""
    for pattern in (*_DOCUMENTS, *_PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            if place != "README.md":
                files.append(File.generated(config, _SITE_PATHS.get(place, place), abs_src_path=str(path)))
    generated = {f"contract/{name}": text for name, text in contract.pages().items()}
    generated["command-line.md"] = command_line.page()
    for name, text in generated.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Replace links to files that have another path on the site; remove links to files that are not on it."""
    on_site = Path(page.file.src_uri).parent
    in_repository = Path(_HOME).parent if page.file.src_uri == "index.md" else on_site

    def replaced(link: re.Match[str]) -> str:
        target = _normal(in_repository / link["target"])
        target = _SITE_PATHS.get(target.rstrip("/"), target)
        if Path(target).suffix not in (".md", ".svg"):
            return link["text"]
        return f"[{link['text']}]({'../' * len(on_site.parts)}{target}{link['anchor'] or ''})"

    return _LINK.sub(replaced, markdown)


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
