# SPDX-License-Identifier: Apache-2.0
"""The targets and scripts that CI, pre-commit and the release call exist and agree with Makefile and pyproject.toml."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def hooks() -> list[dict[str, Any]]:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    found: list[dict[str, Any]] = local["hooks"]
    return found


def checks() -> list[str]:
    (listed,) = re.findall(r"^CHECKS := (.*)$", MAKEFILE, re.MULTILINE)
    return str(listed).split()


def called() -> list[str]:
    commands = [step["run"] for workflow in WORKFLOWS for step in steps(workflow) if "run" in step]
    return [*commands, *(hook["entry"] for hook in hooks())]


def test_every_target_and_script_that_is_called_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    made = {target for command in called() for target in re.findall(r"\bmake ([a-z-]+)", command)}
    assert {"check", "test-unit", "descriptor", *checks()} <= made <= targets
    scripts = {name for command in called() for name in re.findall(r"(?:^|\s)(\.ci/\w+)", command)}
    assert scripts == {".ci/run", ".ci/release", ".ci/install"}
    assert all(os.access(ROOT / name, os.X_OK) for name in scripts)


def test_pre_commit_runs_each_part_of_make_check_and_nothing_else() -> None:
    assert [hook["id"] for hook in hooks()] == checks()
    assert all(hook["entry"] == f"make {hook['id']}" and not hook["pass_filenames"] for hook in hooks())
    assert re.search(r"^check: \$\(CHECKS\)", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)]


def test_pythons_that_are_tested_are_those_that_are_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r"Python :: 3\.\d+$", each)]
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["fast"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    after_last = f"3.{int(promised[-1].rpartition('.')[2]) + 1}"
    assert project["requires-python"] == f">={promised[0]},<{after_last}"
