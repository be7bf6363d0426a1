# SPDX-License-Identifier: Apache-2.0
"""Plots of results: bars of probabilities with their counts, and an error that names missing packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

from qonduit_client.result import Result
from tests.unit.client.peer import counted

matplotlib.use("agg")


def bars(ax: object) -> list[float]:
    return [round(patch.get_height(), 6) for patch in ax.patches]  # type: ignore[attr-defined]


def labels(ax: object) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]  # type: ignore[attr-defined]


def test_bars_are_probabilities_with_counts(tmp_path: Path) -> None:
    ax = Result(counted({"0x0": 500, "0x3": 480, "0x2": 20})).plot()
    assert bars(ax) == [0.5, 0.02, 0.48]
    assert labels(ax) == ["0x0", "0x2", "0x3"]
    assert [text.get_text() for text in ax.texts] == ["500", "20", "480"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("c", "probability")
    ax.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_given_axes_sorted_by_count_with_bits() -> None:
    from matplotlib.figure import Figure

    mine = Figure().add_subplot()
    ax = Result(counted({"0x0": 1, "0x3": 3})).plot(mine, sort="count", bits=True)
    assert ax is mine
    assert labels(ax) == ["11", "00"]
    assert bars(ax) == [0.75, 0.25]


def test_many_outcomes_stay_readable() -> None:
    result = Result(counted({hex(k): k + 1 for k in range(100)}))
    ax = result.plot()
    assert len(ax.patches) == 33
    assert labels(ax)[-1] == "68 others"
    assert sum(bars(ax)) == pytest.approx(1, abs=1e-4)
    assert len(result.plot(top=0).patches) == 100
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90}


def test_nothing_to_draw() -> None:
    message = counted({"0x0": 1})
    message.ClearField("counts_and_probabilities")
    ax = Result(message).plot()
    assert [text.get_text() for text in ax.texts] == ["no counts"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "qonduit-quantum\[plot\]"'):
        Result(counted({"0x0": 1})).plot()


@pytest.fixture(autouse=True)
def _no_figure_stays() -> Iterator[None]:
    from matplotlib import pyplot

    yield
    pyplot.close("all")
