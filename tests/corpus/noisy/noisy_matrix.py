# SPDX-License-Identifier: Apache-2.0
"""The matrix of the noisy corpus: every program on every device that has noise."""

from __future__ import annotations

from collections.abc import Collection

from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from tests.corpus.noisy.verdicts import NoisyVerdict, judge_noisy, noisy_devices, noisy_entries


def show(providers: Collection[str], languages: Collection[str]) -> int:
    """Print the worst result of each case on each device; return the number of wrong results."""
    print(
        "\nWith noise: identical / refused / wrong, over all languages; the largest difference of exact probabilities,"
    )
    print("else the largest total variation of the counts from the reference\n")
    reading = Languages()
    wrong = list[str]()
    for name, device in noisy_devices():
        if name not in providers:
            continue
        provider = registry.get(name)
        provider.load()
        verdicts_by_case: dict[str, list[NoisyVerdict]] = {}
        for entry in noisy_entries():
            if entry.language in languages:
                verdict = judge_noisy(entry, reading, provider, device)
                verdicts_by_case.setdefault(entry.case, []).append(verdict)
                if verdict.kind == "wrong":
                    wrong.append(f"  {name}/{device} {entry.case} in {entry.language}: {verdict.detail}")
        for case, verdicts in verdicts_by_case.items():
            print(f"{name + '/' + device:28} {case:18} {_summary(verdicts)}")
    if wrong:
        print("\nwrong with noise:", *wrong, sep="\n")
    return len(wrong)


def _summary(verdicts: list[NoisyVerdict]) -> str:
    kinds = [each.kind for each in verdicts]
    line = " / ".join(str(kinds.count(kind)) for kind in ("identical", "refused", "wrong"))
    exact = [each.off for each in verdicts if each.off is not None]
    counted = [each.distance for each in verdicts if each.off is None and each.kind == "identical"]
    line += f"  exact {max(exact):.0e}" if exact else ""
    return line + (f"  counts {max(counted):.3f}" if counted else "")
