# SPDX-License-Identifier: Apache-2.0
"""Confines this process in two steps: before the SDK is imported, and before the first line of a source."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import site
import struct
import sys
import sysconfig
from collections.abc import Sequence
from typing import Final

from . import landlock, syscalls

_OPEN_FILES: Final = 256

#: New namespaces: host name, shared memory and message queues, network; and users, which permits an unprivileged user
#: to create the others.
_NAMESPACES: Final = 0x04000000 | 0x08000000 | 0x40000000
_USERS: Final = 0x10000000
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_CAPABILITY_VERSION: Final = 0x20080522

#: Locations of libraries that packages load, and the loader's configuration.
_SYSTEM_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
#: Facts about the machine that SDKs read, and the names of time zones.
_MACHINE: Final = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/usr/share/zoneinfo", "/etc/localtime")


class Confinement:
    """The confinement of this process: enter it before the SDK is imported, lock it afterwards.

    Args:
        parent: the process whose death ends this one.
        cache: directory for files that the SDKs write at import.
        further: further readable paths.

    Raises:
        OSError: the kernel lacks a required feature; the program must not run.
    """

    def __init__(self, parent: int, cache: str, further: Sequence[str] = ()) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # If it is not permitted, the other layers suffice.
        if libc.unshare(_USERS | _NAMESPACES):
            libc.unshare(_NAMESPACES)
        nothing = struct.pack("=6I", 0, 0, 0, 0, 0, 0)
        if libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), nothing):
            raise OSError(ctypes.get_errno(), "privileges cannot be dropped")
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "privileges could be regained")
        self._libc = libc
        self.follow(parent)
        # Imports are trusted and may use all memory; the inherited limit is the worker's.
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        for limit, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_NOFILE, _OPEN_FILES),
        ):
            _limit(limit, most)
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        # Before the SDK starts threads, which would otherwise be unconfined.
        landlock.restrict([*readable(), *further], [cache, "/dev/null"])

    def follow(self, parent: int) -> None:
        """Let the kernel kill this process with its parent. A forked process calls it again, for its own parent."""
        self._libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(os.EX_UNAVAILABLE)

    def lock(self, memory_bytes: int, cpu_seconds: int) -> None:
        """Revoke for good the permissions that imports needed.

        Args:
            memory_bytes: memory allowed beyond the current usage.
            cpu_seconds: CPU time from now on.

        Raises:
            OSError: the kernel lacks a required feature.
        """
        size = int(os.pread(self._memory, 100, 0).split()[0]) * resource.getpagesize()
        os.close(self._memory)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_AS, size + memory_bytes)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds)
        _limit(resource.RLIMIT_FSIZE, 0)
        _limit(resource.RLIMIT_NPROC, 0)
        syscalls.restrict()


def readable() -> list[str]:
    """Return the Python installation with its packages, and the system's libraries."""
    paths = sysconfig.get_paths()
    own = [paths[each] for each in ("stdlib", "platstdlib", "purelib", "platlib")]
    # Self-contained installations keep their libraries beside Python's.
    own += [os.path.join(sys.base_prefix, "lib")] if sys.base_prefix not in ("/", "/usr") else []  # noqa: PTH118
    own += [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys([*own, *site.getsitepackages(), *_SYSTEM_LIBRARIES, *_MACHINE]))


def _limit(which: int, most: int) -> None:
    """Lower a limit unless it is already lower. The soft CPU limit sends its own signal first."""
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(which, (most, most + 1 if which == resource.RLIMIT_CPU else most))
