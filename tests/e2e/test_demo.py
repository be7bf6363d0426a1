# SPDX-License-Identifier: Apache-2.0
"""The demonstration for newcomers: three providers, live output, and no process left behind."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "demo.svg"
QONDUIT = str(Path(sys.executable).parent / "qonduit")


def _left(mark: str) -> set[int]:
    """Return the processes with a mark in their environment: those of the demo, and no other test's."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.timeout(300)
def test_the_demo_shows_the_same_answer_three_times_and_leaves_no_process_behind(tmp_path: Path) -> None:
    mark = f"QONDUIT_DEMO_MARK={uuid.uuid4()}"
    done = subprocess.run(
        [QONDUIT, "demo", "--shots", "500"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), **dict([mark.split("=")])},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for device in ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"):
        assert re.search(rf"succeeded +{device}", done.stdout), done.stdout
    rows = dict(re.findall(r"^\s*(0x[03])\s+(.*)$", done.stdout, re.MULTILINE))
    assert set(rows) == {"0x0", "0x3"}
    counts = {key: [int(number) for number in re.findall(r"\d+", row)] for key, row in rows.items()}
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == [500, 500, 500]
    assert "agree" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert _left(mark) == set()


def test_the_picture_of_the_demo_is_complete() -> None:
    picture = PICTURE.read_text()
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', picture)[0])
    text = re.findall(r'<text[^>]* x="([\d.]+)"[^>]* textLength="([\d.]+)"[^>]*>(.*?)</text>', picture)
    assert all(float(left) + float(length) <= width for left, length, _ in text)
    shown = html.unescape(" ".join(line for _, _, line in text)).replace("\xa0", " ")
    for expected in ("$ make demo", "IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"):
        assert expected in shown
    assert "All 3 agree: the same outcomes, equally often within sampling error." in shown
