# SPDX-License-Identifier: Apache-2.0
"""The table of deliberate faults, and the validation of its entries."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: The working tree.
ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("faults.toml")


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: words joined by hyphens, unique in the table.
        file: the file that gets the fault, from the root of the repository.
        original: a text that the file contains exactly once.
        replaced: the replacement.
        tests: the tests of which at least one must fail, as pytest takes them: FILE or FILE::NAME.
    """

    name: str
    file: str
    original: str
    replaced: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """Return the file's text with the fault.

        Raises:
            ValueError: the original text is not found exactly once.
        """
        found = text.count(self.original)
        if found != 1:
            raise ValueError(f"{self.name}: {self.file} contains the original text {found} times, not once")
        return text.replace(self.original, self.replaced)


def load(table: Path = TABLE) -> list[Fault]:
    """Return the faults of a table."""
    rows = tomllib.loads(table.read_text())["fault"]
    return [Fault(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def problems(fault: Fault, root: Path = ROOT) -> Iterator[str]:
    """Yield the reasons why a fault is invalid."""
    path = root / fault.file
    if not path.is_file():
        yield f"{fault.name}: there is no file {fault.file}"
    else:
        try:
            compile(fault.applied(path.read_text()), fault.file, "exec")
        except (ValueError, SyntaxError) as error:
            yield str(error)
    if fault.original == fault.replaced:
        yield f"{fault.name}: the original and the replaced text are equal"
    if not fault.tests:
        yield f"{fault.name}: it names no test"
    for test in fault.tests:
        file, *names = test.split("::")
        if not (root / file).is_file():
            yield f"{fault.name}: there is no file {file}"
        elif not _defines(_parsed(root / file), [name.partition("[")[0] for name in names]):
            yield f"{fault.name}: {file} has no test {'::'.join(names)}"


@cache
def _parsed(path: Path) -> ast.Module:
    """Return the module in a file of tests, which many faults name."""
    return ast.parse(path.read_text())


def _defines(node: ast.Module | ast.ClassDef, names: list[str]) -> bool:
    """Return whether names, each inside the one before, are defined in a module or class."""
    if not names:
        return True
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and each.name == names[0]:
            return len(names) == 1 or (isinstance(each, ast.ClassDef) and _defines(each, names[1:]))
    return False
