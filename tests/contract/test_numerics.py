# SPDX-License-Identifier: Apache-2.0
"""Counts at fixed seeds are those of `docs/numerics.md`: a change of numerics has an entry there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.numerics.counts_file import stored
from tests.numerics.fixed_seeds import DEVICES, digest, hashes

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "numerics.md"


@pytest.mark.parametrize("provider", sorted({device.partition("/")[0] for device in DEVICES}))
def test_counts_at_fixed_seeds_are_the_recorded_ones(provider: str) -> None:
    known = stored()
    for device, found in hashes(provider):
        changed = sorted(name for name in found if found[name] != known[device].get(name))
        assert not changed, (
            f"{device}: the counts of {', '.join(changed)} at a fixed seed have changed. If that is intended, run "
            "`make numerics`, and add an entry to docs/numerics.md"
        )


def test_the_document_has_the_recorded_counts() -> None:
    text, known = DOCUMENT.read_text(), stored()
    assert known.keys() == DEVICES.keys()
    for device, names in DEVICES.items():
        assert set(known[device]) == set(names)
        assert f"| `{device}` | `{digest(known[device])}` |" in text, "run `make numerics`"
