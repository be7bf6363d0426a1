# SPDX-License-Identifier: Apache-2.0
"""Attacks on the sandbox of Python source and of server programs, and what they attack.

Each attack succeeds in plain Python, else it proves nothing.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Runs before each attack, in both places.
PRELUDE = """
import ctypes, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(on_x86_64, on_aarch64, *arguments):
    got = libc.syscall(on_x86_64 if platform.machine() == "x86_64" else on_aarch64, *arguments)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
folder, secret, link, port, parent, victim, address, kept = (inputs[each] for each in (
    "folder", "secret", "link", "port", "parent", "victim", "address", "kept"))
"""
ESCAPED = "the attack has succeeded"


@dataclass
class Prey:
    """The targets of attacks: files, a listener, this process, another one, an inherited descriptor."""

    folder: Path
    listener: socket.socket
    victim: subprocess.Popen[bytes]
    memory: ctypes.Array[ctypes.c_char]
    kept: int
    link: Path

    def inputs(self) -> dict[str, object]:
        return {
            "folder": str(self.folder),
            "secret": str(self.folder / "secret"),
            "link": str(self.link),
            "port": self.listener.getsockname()[1],
            "parent": os.getpid(),
            "victim": self.victim.pid,
            "address": ctypes.addressof(self.memory),
            "kept": self.kept,
        }

    def state(self) -> tuple[object, ...]:
        """Return everything that an attack could have changed."""
        files = {str(path): path.lstat().st_mtime_ns for path in sorted(self.folder.rglob("*"))}
        try:
            self.listener.accept()[0].close()
            called = True
        except BlockingIOError:
            called = False
        return files, (self.folder / "secret").read_text(), (self.folder / "secret").stat().st_mode, called

    def restore(self) -> None:
        """Undo what an attack outside of the sandbox has changed."""
        (self.folder / "secret").chmod(0o600)
        for made in set(self.folder.iterdir()) - {self.folder / "secret"}:
            made.rmdir() if made.is_dir() else made.unlink()
        (self.folder / "secret").write_text("swordfish")
        self.state()


@contextmanager
def exposed(folder: Path) -> Iterator[Prey]:
    """Set up the targets of attacks, in a folder."""
    (folder / "secret").write_text("swordfish")
    os.environ["QONDUIT_TEST_SECRET"] = "swordfish"
    # Where the kernel lets only parents trace their children, this process permits any tracer.
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
    reader, kept = os.pipe()
    os.set_inheritable(kept, True)
    with socket.create_server(("127.0.0.1", 0)) as listener, subprocess.Popen(["/bin/sleep", "1000"]) as victim:
        listener.setblocking(False)
        link = _cache() / f"link-{os.getpid()}"
        link.symlink_to(folder / "secret")
        yield Prey(folder, listener, victim, ctypes.create_string_buffer(b"swordfish"), kept, link)
        link.unlink()
        victim.kill()
    del os.environ["QONDUIT_TEST_SECRET"]
    os.close(reader)
    os.close(kept)


def _cache() -> Path:
    """Return the folder that SDKs write at import, which sources may read."""
    folder = Path(tempfile.gettempdir()) / f"qonduit-python-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


READING = {
    "a file": "assert open(secret).read()",
    "a file through the root": "assert open('/usr/lib/../..' + secret).read()",
    "a file through its own root": "assert open('/proc/self/root' + secret).read()",
    "a file from its folder": "os.chdir(folder); assert open('secret').read()",
    "a file by a bare call": "assert call(257, 56, -100, secret.encode(), 0)",
    "a file by a descriptor of its path": "os.open(secret, os.O_PATH)",
    "a file through a link in a folder that may be read": "assert open(link).read()",
    "a folder": "assert os.listdir(folder)",
    "the users": "assert open('/etc/passwd').read()",
    "the environment": "assert os.environ['QONDUIT_TEST_SECRET']",
    "its own environment": "assert b'QONDUIT_TEST_SECRET' in open('/proc/self/environ', 'rb').read()",
    "the parent's environment": "assert open(f'/proc/{parent}/environ').read()",
    "the parent's command line": "assert open(f'/proc/{parent}/cmdline').read()",
    "the parent's memory": "m = open(f'/proc/{parent}/mem', 'rb', 0); m.seek(address); assert m.read(4) == b'swor'",
    "the parent's program": "assert os.readlink(f'/proc/{parent}/exe')",
    "the parent's memory by a call": (
        "b = ctypes.create_string_buffer(4); n = ctypes.c_size_t\n"
        "here = (ctypes.c_uint64 * 2)(ctypes.addressof(b), 4); there = (ctypes.c_uint64 * 2)(address, 4)\n"
        "call(310, 270, parent, here, n(1), there, n(1), n(0)); assert b.raw == b'swor'"
    ),
}
WRITING = {
    "a file": "open(folder + '/written', 'w').write('x')",
    "a file at its end": "open(secret, 'a').write('x')",
    "a file without its name": "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
    "a file by a bare call": "call(257, 56, -100, (folder + '/bare').encode(), 0o102, 0o600)",
    "a folder": "os.mkdir(folder + '/made')",
    "a link": "os.symlink(secret, folder + '/link'); os.unlink(folder + '/link')",
    "a second name": "os.link(secret, folder + '/second')",
    "a name": "os.rename(secret, folder + '/renamed'); os.rename(folder + '/renamed', secret)",
    "nothing": "os.truncate(secret, 9)",
    "a mode": "os.chmod(secret, 0o666)",
    "a time": "os.utime(secret, (1, 1))",
    "shared memory": "import multiprocessing.shared_memory as s; m = s.SharedMemory(create=True, size=9); m.unlink()",
    "the SDKs' cache": (
        "import tempfile; name = f'{tempfile.gettempdir()}/qonduit-written-{os.getpid()}'; open(name, 'w').close()\n"
        "try: os.unlink(name)\nexcept OSError: pass"
    ),
    "an inherited descriptor": "os.write(kept, b'x')",
}
REACHING = {
    "a port": "import socket; socket.create_connection(('127.0.0.1', port)).close()",
    "a datagram": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "a local socket": "import socket; socket.socketpair()",
    "a name": "import socket; assert socket.getaddrinfo('localhost', 80)",
    "a socket by a bare call": "call(41, 198, 2, 1, 0)",
}
DOING = {
    "a command": "assert os.system('true') == 0",
    "a process": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "a spawned process": "assert os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1] == 0",
    "another program": "sys.stdout.write(ESCAPED); sys.stdout.flush(); os.execv('/bin/false', ['false'])",
    "a fork": "p = os.fork()\nif not p: os._exit(0)\nos.waitpid(p, 0)",
    "a thread": "import threading; threading.Thread(target=int).start()",
    "a signal to the parent": "os.kill(parent, 0)",
    "a signal to a group": "os.killpg(os.getpgid(parent), 0)",
    "the end of another": "os.kill(victim, 0); os.kill(victim, 18)",
    "tracing": "call(101, 117, 0x4206, victim, ctypes.c_void_p(0), ctypes.c_void_p(0))",
    "a priority": "os.setpriority(os.PRIO_PROCESS, victim, 19)  # lower than any, which needs no right",
    "the limits of another": "import resource; resource.prlimit(victim, resource.RLIMIT_CPU, (90, 90))",
    "its own limits": (
        "import resource; assert resource.getrlimit(resource.RLIMIT_AS)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    ),
    "a file in memory": "os.memfd_create('x')",
    "a debugger's flag": "assert libc.prctl(4, 1, 0, 0, 0) == 0",
    "its parent's death": "assert libc.prctl(1, 0, 0, 0, 0) == 0",
    "a pipe": "os.pipe()",
    "an owner of a descriptor": "import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, os.getpid())",
}
#: All of them, by their names.
ATTACKS = {
    f"{kind} {name}": attack
    for kind, attacks in (("reads", READING), ("writes", WRITING), ("reaches", REACHING), ("does", DOING))
    for name, attack in attacks.items()
}
