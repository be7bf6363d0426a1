# SPDX-License-Identifier: Apache-2.0
"""Compare sampled counts with an exact reference: FILE.ref.json beside a program of the corpus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import chi2

#: A reference gives impossible outcomes a probability below this.
_NEVER = 1e-9
#: The chi-square test joins outcomes until this many shots are expected of them.
_EXPECTED = 5


def reference(program: Path) -> dict[str, Any]:
    """Return the exact distribution of a program.

    Returns:
        `registers` as [[name, size], ...] in order of declaration, and `probs`: {"3 0": 0.5, ...}, one decimal value a
        register in that order, where bit i of a value is bit i of the register.
    """
    found: dict[str, Any] = json.loads(Path(f"{program}.ref.json").read_text())
    return found


def to_hex(key: str) -> str:
    """Return the contract's form of a reference's key: the register declared last first, hexadecimal."""
    return " ".join(hex(int(value)) for value in reversed(key.split()))


def judge(
    wanted: Mapping[str, Any], registers: Sequence[Sequence[Any]], counts: Mapping[str, int], alpha: float
) -> tuple[str, str]:
    """Compare counts with a reference.

    Args:
        wanted: what `reference` returned.
        registers: [[name, size], ...] in the order in which the keys of `counts` list them.
        counts: shots by outcome, {"0x1 0x0": 502, ...}.
        alpha: the probability of rejecting a right result.

    Returns:
        ("ok", ""), or one of "registers", "impossible" and "distribution" with what differs.
    """
    want = [tuple(register) for register in wanted["registers"]]
    got = [tuple(register) for register in registers]
    if sorted(want) != sorted(got):
        return "registers", f"{got} instead of {want}"
    names = [name for name, _ in got]
    place = [names.index(name) for name, _ in want]
    seen: Counter[str] = Counter()
    for key, number in counts.items():
        values = [int(value, 0) for value in key.split()]
        seen[" ".join(str(values[i]) for i in place)] += number
    shots = seen.total()
    if not shots:
        return "distribution", "no counts"
    impossible = sum(number for key, number in seen.items() if wanted["probs"].get(key, 0) < _NEVER)
    if impossible:
        return "impossible", f"{impossible} of {shots} shots on outcomes of probability 0"
    p = _chi_square(wanted["probs"], seen, shots)
    return ("ok", "") if p > alpha else ("distribution", f"chi-square p = {p:.1e}")


def _chi_square(probabilities: Mapping[str, float], seen: Mapping[str, int], shots: int) -> float:
    statistic, freedom, expected, observed = 0.0, -1, 0.0, 0
    for key, probability in sorted(probabilities.items(), key=lambda item: item[1]):
        expected += probability * shots
        observed += seen.get(key, 0)
        if expected >= _EXPECTED:
            statistic += (observed - expected) ** 2 / expected
            freedom += 1
            expected, observed = 0.0, 0
    if expected > 0:
        statistic += (observed - expected) ** 2 / max(expected, 1)
        freedom += 1
    return float(chi2.sf(statistic, freedom)) if freedom > 0 else 1.0
