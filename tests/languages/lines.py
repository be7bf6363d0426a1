# SPDX-License-Identifier: Apache-2.0
"""Count the lines of code that a user writes for the first result, per client: `python -m tests.languages.lines`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
#: The counted sources: all of a program, or the first block of Python of a guide.
PROGRAMS: Final = {
    "Go": "clients/go/*.go",
    "TypeScript": "clients/typescript/src/*.ts",
    "Java": "clients/java/src/main/java/**/*.java",
    "Rust": "clients/rust/src/*.rs",
    "C++": "clients/cpp/*.cc",
}
GUIDES: Final = {
    "Python": "docs/python.md",
    "Qiskit": "docs/adapters/qiskit.md",
    "Cirq": "docs/adapters/cirq.md",
    "Amazon Braket": "docs/adapters/braket.md",
    "PennyLane": "docs/adapters/pennylane.md",
    "qBraid": "docs/adapters/qbraid.md",
}
_COMMENTS: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines_of(client: str) -> int:
    """Count lines that are neither empty nor comments."""
    if client in PROGRAMS:
        text = "\n".join(_COMMENTS.sub("", path.read_text()) for path in sorted(ROOT.glob(PROGRAMS[client])))
    else:
        found = _BLOCK.search((ROOT / GUIDES[client]).read_text())
        assert found is not None, f"{GUIDES[client]} has no block of Python"
        text = found[1]
    lines = [line.strip() for line in text.splitlines()]
    return sum(1 for line in lines if line and not line.startswith(("//", "#!", "# ")))


if __name__ == "__main__":
    for name in [*GUIDES, *PROGRAMS]:
        print(f"{lines_of(name):4} {name}")
