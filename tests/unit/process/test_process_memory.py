# SPDX-License-Identifier: Apache-2.0
"""The usable memory of a machine inside and outside containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qonduit_server.process.memory import usable_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GIB = 1024**3 // 16  # less than any machine has


def system(root: Path, cgroup: str, **limits: str) -> Path:
    """Create the kernel's files; a double underscore in a name stands for a slash, `max` and `v1` for files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for place, limit in limits.items():
        folder, _, version = place.rpartition("__")
        path = root / "sys/fs/cgroup" / folder.replace("__", "/").lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        (path / {"v1": "memory.limit_in_bytes", "v2": "memory.max"}[version]).write_text(f"{limit}\n")
    return root


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == MACHINE
    assert 0 < usable_memory() <= MACHINE


@pytest.mark.parametrize(
    ("cgroup", "limits", "usable"),
    [
        ("0::/\n", {"__v2": str(GIB)}, GIB),
        ("0::/\n", {"__v2": "max"}, MACHINE),
        ("0::/a/b\n", {"a__b__v2": "max", "a__v2": str(2 * GIB)}, 2 * GIB),
        ("0::/a/b\n", {"a__b__v2": str(3 * GIB), "a__v2": str(2 * GIB)}, 2 * GIB),
        ("0::/a/b\n", {"a__b__v2": str(GIB), "a__v2": str(2 * GIB)}, GIB),
        ("0::/a\n", {"b__v2": str(GIB)}, MACHINE),  # of another group
        ("0::/\n", {"__v2": str(2 * MACHINE)}, MACHINE),
        ("9:cpu,cpuacct:/x\n4:memory:/\n0::/\n", {"memory__v1": str(GIB)}, GIB),
        ("4:memory:/docker/1f\n", {"memory__v1": str(GIB)}, GIB),  # the host's path does not exist here
        ("4:memory:/a\n", {"memory__a__v1": str(GIB), "memory__v1": "9223372036854771712"}, GIB),
        ("4:memory:/\n", {"memory__v1": "9223372036854771712"}, MACHINE),
        ("nonsense\n\n", {"__v2": str(GIB)}, MACHINE),
        ("0::/\n", {"__v2": "nonsense"}, MACHINE),
        ("0::/../..\n", {"__v2": str(GIB)}, GIB),
    ],
)
def test_the_narrowest_control_group_counts(tmp_path: Path, cgroup: str, limits: dict[str, str], usable: int) -> None:
    assert usable_memory(system(tmp_path, cgroup, **limits)) == usable
