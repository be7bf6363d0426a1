# SPDX-License-Identifier: Apache-2.0
"""The system calls that a source may make: a seccomp filter with an allowlist."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final

#: The kernel's names of machines, and its numbers for the calls below in the same order.
ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_ALLOWED: Final = {
    # open descriptors
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "close": (3, 57),
    "lseek": (8, 62), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    # status of paths, within Landlock's restrictions
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "membarrier": (324, 283),
    # own signals, time, own process
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrusage": (98, 165), "getrlimit": (97, 163), "getpid": (39, 172), "gettid": (186, 178),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getrandom": (318, 278), "uname": (63, 160), "sysinfo": (99, 179), "arch_prctl": (158, None), "umask": (95, 166),
    "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
}  # fmt: skip
#: Fail as if the kernel lacked them: libraries then work without threads, or use an older call.
_MISSING: Final = {"clone": (56, 220), "clone3": (435, 435), "openat2": (437, 437)}
#: Allowed with some arguments only: the argument's index and its check.
_OPEN: Final = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
_FCNTL: Final = (72, 25)
_IOCTL: Final = (16, 29)
_TGKILL: Final = (234, 131)
_PRLIMIT64: Final = (302, 261)

#: Writing, creating, truncating, appending, unnamed files, and descriptors of paths that need not be readable.
_FORBIDDEN_OPENING: Final = (
    os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_TMPFILE", 0) & ~0o200000 & ~0o40000
    | getattr(os, "O_PATH", 0)
)  # fmt: skip
#: Duplicating, and the flags of a descriptor: no owners and signals, no leases, no sizes of pipes.
_FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 1030)
#: Terminal check, number of readable bytes, close on exec.
_IOCTL_COMMANDS: Final = (0x5401, 0x541B, 0x5450, 0x5451)

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4
#: The x32 calls of x86_64 have this bit set.
_X32: Final = 0x40000000

_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1

_Instruction = tuple[int, int, int, int]


def _argument(index: int, half: int = 0) -> int:
    """Return the offset of the lower (0) or upper (1) 32 bits of an argument."""
    return 16 + 8 * index + 4 * half


def _rules(place: int, own_pid: int) -> Iterator[list[_Instruction]]:
    """Return the rule for one call: it compares the call's number, and continues with the next rule on mismatch."""

    def when(number: int, *body: _Instruction) -> list[_Instruction]:
        return [(_EQUAL, 0, len(body), number), *body]

    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    for numbers in _ALLOWED.values():
        if (number := numbers[place]) is not None:
            yield when(number, allow)
    for numbers in _MISSING.values():
        yield when(numbers[place], (_RETURN, 0, 0, _REFUSE | errno.ENOSYS))
    for numbers, flags in _OPEN.values():
        if (number := numbers[place]) is not None:
            yield when(number, (_LOAD, 0, 0, _argument(flags)), (_ANY_BIT, 0, 1, _FORBIDDEN_OPENING), refuse, allow)
    for number, commands in ((_FCNTL[place], _FCNTL_COMMANDS), (_IOCTL[place], _IOCTL_COMMANDS)):
        tests = [(_EQUAL, len(commands) - index, 0, command) for index, command in enumerate(commands)]
        yield when(number, (_LOAD, 0, 0, _argument(1)), *tests, refuse, allow)
    # abort() sends a signal to this process only.
    yield when(_TGKILL[place], (_LOAD, 0, 0, _argument(0)), (_EQUAL, 0, 1, own_pid), allow, refuse)
    # Reading the own limits is allowed.
    zeros = [_argument(0), _argument(2, 0), _argument(2, 1)]
    tests = [
        step
        for index, where in enumerate(zeros)
        for step in ((_LOAD, 0, 0, where), (_EQUAL, 0, 2 * (len(zeros) - index - 1) + 1, 0))
    ]
    yield when(_PRLIMIT64[place], *tests, allow, refuse)


def program(machine: str, own_pid: int) -> bytes:
    """Return the filter in the kernel's form.

    Args:
        machine: "x86_64" or "aarch64".
        own_pid: the process that may send signals to itself.
    """
    steps: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [(_GREATER, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for rule in _rules(list(ARCHITECTURES).index(machine), own_pid):
        steps += rule
    steps.append((_RETURN, 0, 0, _REFUSE | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def restrict() -> None:
    """Apply the filter to all threads of this process, for good.

    Raises:
        OSError: the kernel has no seccomp, or not on this machine.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"there is no filter of system calls for {machine}")
    steps = program(machine, os.getpid())
    libc = ctypes.CDLL(None, use_errno=True)
    filter_ = _Program(len(steps) // 8, steps)
    done = libc.syscall(_SECCOMP[machine], _SET_FILTER, _ALL_THREADS, ctypes.byref(filter_))
    if done:
        code = ctypes.get_errno() if done < 0 else errno.EBUSY
        raise OSError(code, f"seccomp: {os.strerror(code)}")
