# SPDX-License-Identifier: Apache-2.0
"""The line counts on the page about clients match the programs."""

from __future__ import annotations

import re

import pytest

from tests.languages.lines import GUIDES, PROGRAMS, ROOT, lines_of

_ROW = re.compile(r"^\| ([\w+# ]+) \| .* \| (\d+) \|$", re.MULTILINE)


@pytest.mark.parametrize("client", [*GUIDES, *PROGRAMS])
def test_the_page_has_the_number_of_lines_of_each_client(client: str) -> None:
    documented = {name: int(lines) for name, lines in _ROW.findall((ROOT / "clients/README.md").read_text())}
    assert documented[client] == lines_of(client)
