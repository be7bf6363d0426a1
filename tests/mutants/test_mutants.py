# SPDX-License-Identifier: Apache-2.0
"""The table of deliberate faults applies to the tree, and a trial distinguishes caught faults from others."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.table import ROOT, Fault, load, problems
from tests.mutants.trial import Verdict, attempt, copy_of

FAULTS = load()
SOURCE = "def double(number):\n    return 2 * number\n"
TESTS = """from double import double


def test_two():
    assert double(2) == 4


class TestOthers:
    def test_three(self):
        assert double(3) == 6
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of one module and its tests."""
    root = tmp_path / "tree"
    (root / "server").mkdir(parents=True)
    (root / "server" / "double.py").write_text(SOURCE)
    (root / "test_double.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\n")
    (root / ".gitignore").write_text("ignored\n")
    (root / "ignored").write_text("")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def fault(original: str = "2 *", replaced: str = "3 *", tests: tuple[str, ...] = ("test_double.py",)) -> Fault:
    return Fault("a-fault", "server/double.py", original, replaced, tests)


@pytest.mark.parametrize("each", FAULTS, ids=[each.name for each in FAULTS])
def test_a_fault_of_the_table_applies(each: Fault) -> None:
    assert list(problems(each, ROOT)) == []


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(each.name for each in FAULTS).items() if count > 1] == []


def test_what_is_wrong_with_a_fault_is_named(tree: Path) -> None:
    def wrong(each: Fault) -> str:
        return "\n".join(problems(each, tree))

    found = ("test_double.py", "test_double.py::test_two", "test_double.py::TestOthers::test_three[1]")
    assert wrong(fault(tests=found)) == ""
    assert "contains the original text 0 times, not once" in wrong(fault("4 *"))
    assert "contains the original text 2 times, not once" in wrong(fault("number"))
    assert "are equal" in wrong(fault("2 *", "2 *"))
    assert "invalid syntax" in wrong(fault("2 *", "2 */"))
    assert "there is no file server/triple.py" in wrong(replace(fault(), file="server/triple.py"))
    assert "names no test" in wrong(fault(tests=()))
    assert "there is no file test_triple.py" in wrong(fault(tests=("test_triple.py",)))
    assert "has no test TestOthers::test_two" in wrong(fault(tests=("test_double.py::TestOthers::test_two",)))


def test_a_fault_is_caught_survives_or_is_not_decided_and_never_stays(tree: Path, tmp_path: Path) -> None:
    copy = copy_of(tree, tmp_path / "copy")
    assert not (copy / "ignored").exists()
    verdicts = [
        attempt(each, copy).verdict
        for each in (
            fault(),
            fault("2 *", "number +"),  # the same for every number
            fault(tests=("test_double.py::test_four",)),  # pytest finds no such test
            fault("return", "1 / 0; return"),
        )
    ]
    assert verdicts == [Verdict.CAUGHT, Verdict.SURVIVED, Verdict.UNDECIDED, Verdict.CAUGHT]
    for root in (tree, copy):
        assert (root / "server" / "double.py").read_text() == SOURCE


def test_the_command_fails_where_a_fault_survives_and_names_it(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "faults.toml"
    rows = {"caught": ("2 *", "3 *"), "survivor": ("2 *", "number +"), "stale": ("4 *", "3 *")}
    table.write_text(
        "".join(
            f'[[fault]]\nname = "{name}"\nfile = "server/double.py"\noriginal = "{original}"\n'
            f'replaced = "{replaced}"\ntests = ["test_double.py"]\n'
            for name, (original, replaced) in rows.items()
        )
    )
    assert main(["caught", "survivor", "--processes", "1"], tree, table) == 1
    output = capsys.readouterr().out
    assert [line.split("  ")[0] for line in output.splitlines() if not line.startswith(" ")] == [
        "caught", "NOT CAUGHT", "1 caught, 1 NOT CAUGHT"]  # fmt: skip
    assert "'2 *' -> 'number +'" in output
    assert main(["caught", "--processes", "1"], tree, table) == 0
    assert main(["stale"], tree, table) == 2
    assert "contains the original text 0 times" in capsys.readouterr().err
    assert main(["unknown"], tree, table) == 2
    (tree / "test_double.py").write_text(TESTS.replace("== 4", "== 5"))
    assert main(["caught", "--processes", "1"], tree, table) == 2
    assert "without any fault, the tests do not pass" in capsys.readouterr().err
