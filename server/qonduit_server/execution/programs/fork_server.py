# SPDX-License-Identifier: Apache-2.0
"""The process that forks the programs of one Python environment."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Final

from qonduit.execution.v1.program_pb2 import ProgramForkRequest
from qonduit_server.execution.frame_channel import Channel
from qonduit_server.execution.socket_program import start_program
from qonduit_server.execution.stderr_log import Output, Stderr
from qonduit_server.process import framing

#: The packages that the process imports from where this server has them: the environment may lack them.
_PACKAGES: Final = ("qonduit", "qonduit_client", "qonduit_server")
#: Makes these packages importable by their folders alone, so that no other package of the server is.
_START: Final = """
import importlib.machinery, importlib.util, os, sys

class Packages:
    folders = {os.path.basename(each): each for each in sys.argv[1].split(os.pathsep)}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        folder = cls.folders.get(name)
        if folder is None:
            return None
        file = os.path.join(folder, "__init__.py")
        if os.path.exists(file):
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[folder])
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [folder]
        return spec

sys.meta_path.insert(0, Packages)
from qonduit_server.program_sandbox.forkserver import main
sys.exit(main(sys.argv[2:]))
"""
#: BLAS must not start threads: the sandbox forbids them.
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NUMBA_CACHE_LOCATOR_CLASSES": "qonduit_server.program_sandbox.numba_cache.ReadOnlyLocator",
    "JAX_PLATFORMS": "cpu",
    "QISKIT_PARALLEL": "FALSE",
}
#: A frame of the process is small.
_MAX_FRAME: Final = 64 * 1024


class ForkServer:
    """One process, which is starting, ready, or dead.

    Args:
        name: the name of the environment.
        python: its Python interpreter.
        output: the destination of its standard error.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, name: str, python: str, output: Output) -> None:
        folders = package_folders()
        cache = _cache()
        environment = {**_ENVIRONMENT, **dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"), cache)}
        arguments = ["--parent", str(os.getpid()), "--cache", cache]
        for folder in folders:
            arguments += ["--readable", folder]
        command = [python, "-I", "-B", "-X", "utf8", "-c", _START, os.pathsep.join(folders), *arguments]
        self.name = name
        self._process: subprocess.Popen[bytes]
        self._process, link, self._stderr = start_program("program fork server", name, command, output, environment)
        self.channel = Channel(link, _MAX_FRAME)
        #: Whether it can fork, and why it cannot.
        self.loaded = False
        self.fault = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def stderr(self) -> Stderr | None:
        """The log of its standard error."""
        return self._stderr

    def fork(self, number: int) -> socket.socket:
        """Fork a program; return the socket to it."""
        ours, theirs = socket.socketpair()
        self.channel.send(framing.pack(ProgramForkRequest(id=number)), (theirs.detach(),))
        return ours

    def kill(self, number: int) -> None:
        """Kill a program, unless it has ended."""
        self.channel.send(framing.pack(ProgramForkRequest(id=number, kill=True)))

    def end(self) -> int:
        """Kill the process, and with it its programs; return its exit code."""
        self._process.kill()
        self.channel.close()
        return self._process.wait()


def package_folders() -> list[str]:
    """Return the folders of the packages that the process imports."""
    return [_folder(import_module(name).__path__) for name in _PACKAGES]


def _folder(paths: Iterable[str]) -> str:
    return str(Path(next(iter(paths))).resolve())


def _cache() -> str:
    """Return the folder of files that packages write at import; programs can read and not write it. Raises OSError."""
    folder = Path(tempfile.gettempdir()) / f"qonduit-python-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not owned by the server's user or is not private; remove it")
    return str(folder)
