# SPDX-License-Identifier: Apache-2.0
"""The control groups of this process, in which a container or a service manager limits memory and cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")


def read_limits(controller: str, names: tuple[str, str], root: Path | None = None) -> Iterator[str]:
    """Yield the content of a limit's file for each control group of this process that has one.

    The limits of parent groups apply as well. In a container, the path of the group may be the host's, which does not
    exist there; the mount is then the group of the container.

    Args:
        controller: the name of the controller, such as "memory".
        names: the name of the file in version 1 and in version 2.
        root: the folder that contains `proc` and `sys`; by default that of this machine.
    """
    root = root or _ROOT
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounted, name = root / "sys/fs/cgroup", names[1]
        elif controller in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup" / controller, names[0]
        else:
            continue
        group = PurePosixPath("/", path)
        for each in (group, *group.parents):
            try:
                yield (mounted / each.relative_to("/") / name).read_text(encoding="ascii")
            except (OSError, ValueError):
                continue
