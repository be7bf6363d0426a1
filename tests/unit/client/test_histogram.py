# SPDX-License-Identifier: Apache-2.0
"""Histograms: order, rare outcomes summed up in one line, exact bar lengths."""

from __future__ import annotations

from qonduit_client.histogram import bar, lines_of, text_of


def test_keys_are_sorted_as_numbers() -> None:
    counts = {"0x10": 1, "0x2": 5, "0xa": 3, "0x1 0x0": 1}
    assert [line.label for line in lines_of(counts)] == ["0x1 0x0", "0x2", "0xa", "0x10"]
    assert [line.label for line in lines_of(counts, sort="count")] == ["0x2", "0xa", "0x1 0x0", "0x10"]


def test_rare_outcomes_are_summed_up() -> None:
    counts = {hex(k): k for k in range(1, 11)}
    lines = lines_of(counts, top=3)
    assert [(line.label, line.count) for line in lines] == [("0x8", 8), ("0x9", 9), ("0xa", 10), ("7 others", 28)]
    assert sum(line.share for line in lines) == 1
    assert lines_of(counts, top=9)[-1].label == "1 other"
    assert len(lines_of(counts, top=0)) == 10


def test_bars_are_exact_to_an_eighth() -> None:
    assert bar(1, 4) == "████"
    assert bar(0.5, 3) == "█▌"
    assert bar(0.0001, 4) == "▏"
    assert bar(0, 4) == ""
    assert bar(0.5, 4, ascii_only=True) == "##"


def test_text() -> None:
    text = text_of({"0x0": 500, "0x3": 1500}, width=40)
    assert text.splitlines() == ["  0x0   500   25.0%  █████▋", "  0x3  1500   75.0%  █████████████████"]
    assert "\x1b[" not in text
    assert "\x1b[" in text_of({"0x0": 1}, color=True)
    assert "no counts" in text_of({})


def test_bits_can_be_keys() -> None:
    assert [line.label for line in lines_of({"11": 1, "00": 2, "10": 3})] == ["00", "10", "11"]
