# SPDX-License-Identifier: Apache-2.0
"""Locks this process in, in two steps: before the SDK is imported, then before the first line of a source."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import site
import struct
import sys
import sysconfig
from typing import Final

from . import landlock, syscalls

_OPEN_FILES: Final = 256

#: New namespaces: host name, shared memory and message queues, network; and users, which lets anybody make the others.
_NAMESPACES: Final = 0x04000000 | 0x08000000 | 0x40000000
_USERS: Final = 0x10000000
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_CAPABILITY_VERSION: Final = 0x20080522

#: Where systems keep the libraries that packages load, and what says where.
_SYSTEM_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
#: What SDKs want to know of the machine, and the names of time zones.
_MACHINE: Final = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/usr/share/zoneinfo", "/etc/localtime")


class Confinement:
    """The cage around this process. Entering is for before the SDK is imported, locking for after it.

    Args:
        parent: the process that must be alive as long as this one.
        cache: folder in which the SDKs may keep what they make while they are imported.

    Raises:
        OSError: the kernel does not offer what the cage is made of; nothing of the program may be run then.
    """

    def __init__(self, parent: int, cache: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # Where it is not permitted, the layers below hold without it.
        if libc.unshare(_USERS | _NAMESPACES):
            libc.unshare(_NAMESPACES)
        nothing = struct.pack("=6I", 0, 0, 0, 0, 0, 0)
        if libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), nothing):
            raise OSError(ctypes.get_errno(), "privileges cannot be dropped")
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "privileges could be had again")
        libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(os.EX_UNAVAILABLE)
        # Importing is trusted with as much memory as there is; the worker's limit was made for the worker.
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
        # Before the SDK starts threads: each would else be a way around it.
        landlock.restrict(readable(), [cache, "/dev/null"])

    def lock(self, memory_bytes: int, cpu_seconds: int) -> None:
        """Take away all that importing needed, for good.

        Args:
            memory_bytes: what may be added to the memory in use.
            cpu_seconds: CPU time from now on.

        Raises:
            OSError: the kernel does not offer it.
        """
        size = int(os.read(self._memory, 100).split()[0]) * resource.getpagesize()
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
    # Programs that were installed as a whole keep their libraries beside Python's.
    own += [os.path.join(sys.base_prefix, "lib")] if sys.base_prefix not in ("/", "/usr") else []  # noqa: PTH118
    own += [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys([*own, *site.getsitepackages(), *_SYSTEM_LIBRARIES, *_MACHINE]))


def _limit(which: int, most: int) -> None:
    """Lower a limit; one that is lower already stays. CPU time ends with a signal of its own first."""
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(which, (most, most + 1 if which == resource.RLIMIT_CPU else most))
