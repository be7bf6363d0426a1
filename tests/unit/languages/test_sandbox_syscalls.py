# SPDX-License-Identifier: Apache-2.0
"""The system call filter, interpreted as by the kernel, for both architectures on any machine."""

from __future__ import annotations

import struct

import pytest

from qonduit_server.languages.python.sandbox import syscalls

#: System calls forbidden in a sandbox, with their numbers on x86_64 and aarch64.
FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "sendto": (44, 206), "sendmsg": (46, 211), "bind": (49, 200),
    "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "memfd_create": (319, 279), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "userfaultfd": (323, 282), "mount": (165, 40),
    "open_tree": (428, 428), "fsopen": (430, 430), "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219),
    "add_key": (248, 217), "perf_event_open": (298, 241), "prctl": (157, 167), "seccomp": (317, 277),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "setrlimit": (160, 164),
    "chmod": (90, 52), "unlinkat": (263, 35), "renameat2": (316, 276), "linkat": (265, 37), "symlinkat": (266, 36),
    "truncate": (76, 45), "ftruncate": (77, 46), "mkdirat": (258, 34), "mknodat": (259, 33), "fallocate": (285, 47),
    "shmget": (29, 194), "msgget": (68, 186), "mq_open": (180, 180), "init_module": (175, 105),
    "kexec_load": (246, 104),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "open_by_handle_at": (304, 265), "acct": (163, 89),
    "personality": (135, 92), "setuid": (105, 146), "capset": (126, 91), "chroot": (161, 51), "pivot_root": (155, 41),
    "clone": (56, 220), "clone3": (435, 435), "process_madvise": (440, 440), "a call to come": (999, 999),
}  # fmt: skip


def judged(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return the filter's verdict on a system call, by interpreting the filter as the kernel does."""
    steps = list(struct.iter_unpack("=HBBI", syscalls.program(machine, own_pid=77)))
    data = struct.pack(
        "=iIQ6Q", number, architecture or syscalls.ARCHITECTURES[machine], 0, *(*arguments, *[0] * 6)[:6]
    )
    at = value = 0
    while True:
        code, if_so, if_not, constant = steps[at]
        at += 1
        if code == 0x06:
            return int(constant)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
        else:
            true = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[code]
            at += if_so if true else if_not


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
class TestFilter:
    """The system call filter for both architectures, on any machine."""

    ALLOWED = 0x7FFF0000

    def test_calls_useful_to_attacks_are_refused(self, machine: str) -> None:
        place = ("x86_64", "aarch64").index(machine)
        let_through = [name for name, each in FORBIDDEN.items() if judged(machine, each[place]) == self.ALLOWED]
        assert not let_through
        assert judged(machine, (0, 63)[place]) == self.ALLOWED  # read

    def test_foreign_machines_are_killed(self, machine: str) -> None:
        assert judged(machine, 0, architecture=0x40000003) == 0x80000000
        assert judged("x86_64", 0x40000000) == 0x80000000

    @pytest.mark.parametrize(
        ("flags", "allowed"),
        [(0, True), (0o2000000, True), (1, False), (2, False), (0o100, False), (0o1000, False), (0o2000, False),
         (0o10000000, False), (0o20200000, False), (0o20040000, False)],
    )  # fmt: skip
    def test_files_are_opened_for_reading_only(self, machine: str, flags: int, allowed: bool) -> None:
        number = {"x86_64": 257, "aarch64": 56}[machine]
        assert (judged(machine, number, -100 & 0xFFFFFFFF, 0, flags) == self.ALLOWED) is allowed

    def test_signals_go_to_itself_only(self, machine: str) -> None:
        number = {"x86_64": 234, "aarch64": 131}[machine]
        assert judged(machine, number, 77, 77, 6) == self.ALLOWED
        assert judged(machine, number, 78, 78, 6) != self.ALLOWED

    def test_limits_are_read_only(self, machine: str) -> None:
        number = {"x86_64": 302, "aarch64": 261}[machine]
        assert judged(machine, number, 0, 9, 0, 1) == self.ALLOWED
        assert judged(machine, number, 78, 9, 0, 1) != self.ALLOWED
        assert judged(machine, number, 0, 9, 1, 1) != self.ALLOWED
        assert judged(machine, number, 0, 9, 1 << 32, 1) != self.ALLOWED

    @pytest.mark.parametrize(
        ("command", "allowed"), [(1, True), (1030, True), (8, False), (1031, False), (1033, False)]
    )
    def test_descriptors_keep_their_owners_and_sizes(self, machine: str, command: int, allowed: bool) -> None:
        number = {"x86_64": 72, "aarch64": 25}[machine]
        assert (judged(machine, number, 1, command) == self.ALLOWED) is allowed

    @pytest.mark.parametrize(("command", "allowed"), [(0x5401, True), (0x5412, False), (0x5421, False)])
    def test_terminals_are_not_typed_into(self, machine: str, command: int, allowed: bool) -> None:
        number = {"x86_64": 16, "aarch64": 29}[machine]
        assert (judged(machine, number, 1, command) == self.ALLOWED) is allowed
