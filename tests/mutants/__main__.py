# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.mutants [NAME ...]`: apply faults of the table, and report which of them the tests catch."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.table import ROOT, TABLE, Fault, load, problems
from tests.mutants.trial import Trial, Verdict, attempt, copy_of, run_tests


def main(given: Sequence[str] | None = None, root: Path = ROOT, table: Path = TABLE) -> int:
    """Run the trials of faults.

    Args:
        given: arguments of the command line.
        root: the working tree.
        table: the faults.

    Returns:
        0 if all faults were caught, 1 if one was not, 2 if the result is undecided: a fault does not apply, or its
        tests fail without it.
    """
    arguments = _arguments(given)
    faults = load(table)
    chosen = [each for each in faults if not arguments.names or each.name in arguments.names]
    wrong = [f"there is no fault {name!r} in the table" for name in {*arguments.names} - {each.name for each in faults}]
    wrong += [problem for each in chosen for problem in problems(each, root)]
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [copy_of(root, Path(folder) / str(number)) for number in range(max(1, arguments.processes))]
        code, output = run_tests(copies[0], sorted({test for each in chosen for test in each.tests}))
        if code != 0:
            print(f"{output}\nwithout any fault, the tests do not pass: no result is possible", file=sys.stderr)
            return 2
        verdicts = _try_all(chosen, copies)
    print(", ".join(f"{count} {verdict.value}" for verdict, count in verdicts.items()))
    return 0 if set(verdicts) <= {Verdict.CAUGHT} else 1


def _try_all(faults: list[Fault], copies: list[Path]) -> Counter[Verdict]:
    """Run the trials, one at a time in each copy, and print each verdict as it arrives."""
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def tried(fault: Fault) -> tuple[Trial, float]:
        copy = free.get()
        begun = time.monotonic()
        try:
            return attempt(fault, copy), time.monotonic() - begun
        finally:
            free.put(copy)

    verdicts: Counter[Verdict] = Counter()
    with ThreadPoolExecutor(len(copies)) as pool:
        for fault, (trial, seconds) in zip(faults, pool.map(tried, faults), strict=True):
            verdicts[trial.verdict] += 1
            print(f"{trial.verdict.value:12} {seconds:6.1f} s  {fault.name}", flush=True)
            if trial.verdict is not Verdict.CAUGHT:
                print(f"  {fault.file}: {fault.original!r} -> {fault.replaced!r}\n  tests: {' '.join(fault.tests)}")
                print("".join(f"  | {line}\n" for line in trial.output.splitlines()[-15:]), end="", flush=True)
    return verdicts


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to try; all, where none is given")
    parser.add_argument("--processes", type=int, default=2, help="how many are tried at a time (2)")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
