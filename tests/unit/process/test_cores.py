# SPDX-License-Identifier: Apache-2.0
"""The usable cores of a machine inside and outside containers, with the files of control groups 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qonduit_server.process.cores import usable_cores

AFFINITY = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """Create the kernel's files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def version_1(folder: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


def test_without_control_groups_they_are_those_of_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 4


def test_on_this_machine_they_are_at_most_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    usable_cores.cache_clear()
    assert 1 <= usable_cores() <= AFFINITY


@pytest.mark.parametrize(
    ("cgroup", "files", "usable"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000"}, 1),
        ("0::/\n", {"cpu.max": "30000 10000"}, 3),
        ("0::/\n", {"cpu.max": "900000 100000"}, 4),
        ("0::/\n", {"cpu.max": "max 100000"}, 4),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
        ("0::/a\n", {"b/cpu.max": "100000 100000"}, 4),  # of another group
        ("0::/\n", {"cpu.max": ""}, 4),
        ("0::/\n", {"cpu.max": "nonsense 100000"}, 4),
        ("3:cpu,cpuacct:/\n0::/\n", version_1("cpu", "200000"), 2),
        ("3:cpu:/\n", version_1("cpu", "250000"), 3),
        ("3:cpu:/\n", version_1("cpu", "50000", "25000"), 2),
        ("3:cpu:/docker/1f\n", version_1("cpu", "100000"), 1),  # the host's path does not exist here
        ("3:cpu:/a\n", version_1("cpu/a", "200000") | version_1("cpu", "-1"), 2),
        ("3:cpu:/a\n", version_1("cpu/a", "-1") | version_1("cpu", "300000"), 3),
        ("3:cpu:/\n", version_1("cpu", "-1"), 4),
        ("3:cpuset:/\n", version_1("cpu", "100000"), 4),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000"}, 4),
        ("nonsense\n\n", {"cpu.max": "100000 100000"}, 4),
    ],
)
def test_the_narrowest_quota_counts(tmp_path: Path, cgroup: str, files: dict[str, str], usable: int) -> None:
    assert usable_cores(system(tmp_path, cgroup, files)) == usable
