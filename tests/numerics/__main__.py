# SPDX-License-Identifier: Apache-2.0
"""`make numerics`: compare the counts of the oldest and newest versions in `pyproject.toml` with the locked ones.

Each environment is that of the caller with another version of one package. The hashes of the locked versions go to
counts.json, and the tables to docs/numerics.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.numerics.counts_file import COUNTS, Hashes
from tests.numerics.fixed_seeds import DEVICES, digest
from tests.package_installation import uv
from tests.python_environments import layered

ROOT: Final = Path(__file__).resolve().parents[2]
_DOCUMENT: Final = ROOT / "docs" / "numerics.md"
_BEGIN, _END = "<!-- written by make numerics -->\n", "<!-- end of what make numerics writes -->\n"
#: The extra, packages whose versions change together, the first of which has the range, and the providers with them.
_PACKAGES: Final[Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]]] = (
    ("worker", ("qiskit",), ("IBM", "AWS", "GOOGLE", "STIM")),
    ("numpy", ("numpy",), ("IBM", "AWS", "GOOGLE", "STIM")),
    ("ibm", ("qiskit-aer",), ("IBM",)),
    ("aws", ("amazon-braket-sdk", "amazon-braket-default-simulator"), ("AWS",)),
    ("google", ("cirq-core", "cirq-google"), ("GOOGLE",)),
    ("google", ("qsimcirq",), ("GOOGLE",)),
    ("stim", ("stim",), ("STIM",)),
    ("shapes", ("qiskit-ibm-runtime",), ("IBM",)),
)


@dataclass(frozen=True)
class Outcome:
    """The hashes of one environment.

    Attributes:
        package: the package whose version differs.
        version: its version.
        hashes: by device and program; None if the environment cannot run them, with the reason.
    """

    package: str
    version: str
    hashes: Hashes | None
    reason: str = ""


def ranges() -> Mapping[str, str]:
    """Return the ranges of versions in `pyproject.toml`, by package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = {}
    for each in [each for extra, _, _ in _PACKAGES for each in extras[extra]]:
        name, separator, bounds = each.partition(">=")
        if separator:
            found[name.partition("[")[0]] = f">={bounds}"
    return found


def run(python: str, providers: Sequence[str]) -> dict[str, Any]:
    """Return what an environment computes."""
    command = [python, "-m", "tests.numerics.fixed_seeds", *providers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"error": last.removeprefix("AssertionError: ")}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def outcomes(folder: Path, only: str) -> Iterator[Outcome]:
    """Yield the outcomes of all environments."""
    for number, (_, packages, providers) in enumerate(_PACKAGES):
        if only and only not in packages:
            continue
        bounds, seen = ranges()[packages[0]], set[str]()
        for resolution in ("lowest", "highest"):
            python = str(layered(folder / f"{number}-{resolution}", ROOT))
            wanted = [f"{packages[0]}{bounds}", *packages[1:]]
            if packages[1:] == ("cirq-google",):
                wanted = [f"{name}{bounds}" for name in packages]
            # An old SDK may be older than today's version of what it needs: only the packages themselves change.
            options = ("--no-deps", "--resolution", resolution)
            if packages[1:] == ("amazon-braket-default-simulator",) and resolution == "lowest":
                wanted = [wanted[0], f"{packages[1]}>=1.32,<2"]
            uv("pip", "install", "--python", python, *options, *wanted, untested="other versions")
            found = run(python, providers)
            version = found.get("versions", {}).get(packages[0], "") or _version(python, packages[0])
            if version not in seen:
                seen.add(version)
                yield Outcome(packages[0], version, found.get("hashes"), found.get("error", ""))


def _version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def document(text: str, locked: Mapping[str, Any], found: Sequence[Outcome]) -> str:
    """Return the document with the hashes of the locked versions, and new rows of the packages that were compared."""
    before, begin, rest = text.partition(_BEGIN)
    written, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{_DOCUMENT} lacks the lines {_BEGIN!r} and {_END!r}")
    lines = ["| device | hash of its counts |", "|---|---|"]
    lines += [f"| `{device}` | `{digest(locked['hashes'][device])}` |" for device in DEVICES]
    lines += ["", "| package | version | locked | counts at fixed seeds |", "|---|---|---|---|"]
    for _, (package, *_), _ in _PACKAGES:
        new = [each for each in found if each.package == package]
        now = locked["versions"].get(package, "")
        lines += [f"| {package} | {each.version} | {now} | {_difference(each, locked['hashes'])} |" for each in new]
        if not new:
            lines += [line for line in written.splitlines() if line.startswith(f"| {package} |")]
    return "".join((before, begin, "\n".join(lines), "\n", end, after))


def _difference(each: Outcome, locked: Hashes) -> str:
    if each.hashes is None:
        return f"does not run: {each.reason}"
    changed = [
        f"`{device}` ({', '.join(name for name in found if found[name] != locked[device][name])})"
        for device, found in each.hashes.items()
        if found != locked[device]
    ]
    if changed:
        return f"other counts on {', '.join(changed)}"
    return f"the same on {', '.join(f'`{device}`' for device in each.hashes)}"


def main() -> int:
    """Run all environments, and write both files."""
    parser = argparse.ArgumentParser(prog="tests.numerics", description=__doc__)
    parser.add_argument("--package", help="compare this package alone; 'none': only hash the locked versions")
    options = parser.parse_args()
    locked = run(sys.executable, [])
    if "error" in locked:
        print(locked["error"], file=sys.stderr)
        return 1
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for each in outcomes(Path(folder), options.package or ""):
            print(f"{each.package} {each.version}: {_difference(each, locked['hashes'])}", flush=True)
            found.append(each)
    COUNTS.write_text(json.dumps(locked["hashes"], indent=1, sort_keys=True) + "\n")
    _DOCUMENT.write_text(document(_DOCUMENT.read_text(), locked, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
