# SPDX-License-Identifier: Apache-2.0
"""The lines that the page on clients tells are the lines that there are."""

from __future__ import annotations

import re

import pytest

from tests.languages.lines import GUIDES, PROGRAMS, ROOT, lines_of

_ROW = re.compile(r"^\| ([\w+# ]+) \| .* \| (\d+) \|$", re.MULTILINE)


@pytest.mark.parametrize("client", [*GUIDES, *PROGRAMS])
def test_the_page_tells_how_many_lines_a_client_takes(client: str) -> None:
    told = {name: int(lines) for name, lines in _ROW.findall((ROOT / "clients/README.md").read_text())}
    assert told[client] == lines_of(client)
