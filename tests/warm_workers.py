# SPDX-License-Identifier: Apache-2.0
"""Starts the fork servers of workers by a fork of a process that has loaded the provider's SDK.

A provider's SDK takes a second or three of a processor to import. A fork server that a warm process has forked is a
child of the warm process; `parents` finds the server that has started it. Like every fork server, it ends with its
socket and with its server. Its command line and the file of its variables are those of the warm process, so tests that
read these start their servers with the variables `REAL_WORKERS`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.warm_process import Forks, become, receive_request, request_fork

_ROOT: Final = Path(__file__).resolve().parents[1]
_FORK_SERVER: Final = "qonduit_server.worker.forkserver"
#: The variables of servers whose fork servers start as those of operators do: they differ from those of the session.
REAL_WORKERS: Final = {"TEST_REAL_WORKERS": "1"}
#: Variables that the session itself changes, and the folders of packages with providers.
_UNREAD: Final = {"COLUMNS", "GRPC_VERBOSITY", "LINES", "PYTEST_CURRENT_TEST", "PYTHONPATH"}
#: The settings of servers, and those of the vendors of the tests.
_PREFIXES: Final = ("QONDUIT_", "VENDOR_CLOUD_")
#: The beginning of the name that a forked process has in the kernel, before the process id of its server.
_NAME: Final = "of:"

Launch = Callable[[Sequence[str], int, int, Mapping[str, str] | None], Any]


def address(router: int) -> str:
    """Return the address at which a process that routes requests receives them.

    Args:
        router: its process id.
    """
    return f"\0qonduit-test-workers-{router}"


def launcher(router: str, real: Launch, session: Mapping[str, str]) -> Launch:
    """Return a replacement of `launch` of `qonduit_server.execution.socket_program`.

    Args:
        router: the address of the process that routes requests.
        real: starts the programs that are no fork servers of this environment, or have variables of their own.
        session: the variables with which the warm processes start.
    """

    def launch(command: Sequence[str], link: int, errors: int, environment: Mapping[str, str] | None) -> Any:
        variables = os.environ if environment is None else environment
        if list(command[:3]) != [sys.executable, "-m", _FORK_SERVER] or not _alike(variables, session):
            return real(command, link, errors, environment)
        request = {
            "provider": command[list(command).index("--provider") + 1],
            "arguments": list(command[3:]),
            "variables": dict(variables),
            "folder": str(Path.cwd()),
            "link": link,
            "server": os.getpid(),
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as to:
            to.connect(router)
            return request_fork(to, request, [link, errors])

    return launch


def _alike(variables: Mapping[str, str], session: Mapping[str, str]) -> bool:
    """Return whether variables differ only in what no SDK reads; libraries read others when they are imported."""
    differing = dict(variables.items() ^ session.items())
    if not all(name.startswith(_PREFIXES) or name in _UNREAD for name in differing):
        return False
    # Packages that only declare providers of the tests replace no module of an SDK.
    folders = [Path(each) for each in _folders(variables) if Path(each) != _ROOT]
    return all(each.suffix == ".dist-info" for folder in folders if folder.is_dir() for each in folder.iterdir())


def changes_python(variables: Mapping[str, str]) -> bool:
    """Return whether a folder of further modules has one that Python imports when it starts."""
    return any((Path(folder) / "sitecustomize.py").exists() for folder in _folders(variables))


def add_folders(variables: Mapping[str, str]) -> None:
    """Add the folders of further modules of a forked process."""
    sys.path[1:1] = [each for each in _folders(variables) if each not in sys.path]


def _folders(variables: Mapping[str, str]) -> list[str]:
    return [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each]


class Router:
    """Passes each request to the warm process of its provider, which it starts if it is the first one."""

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address(os.getpid()))
        self._listener.listen(64)
        self._warm: dict[str, socket.socket] = {}

    def read_by(self, forks: Forks) -> None:
        """Let a main loop receive the requests."""
        forks.also_read(self._listener, self._route)

    def _route(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            body, files = receive_request(connection)
        if body:
            self._pass(json.loads(body)["provider"], body, files)
        for each in files:
            os.close(each)

    def _pass(self, provider: str, body: bytes, files: Sequence[int]) -> None:
        if provider in self._warm:
            with contextlib.suppress(ConnectionError):  # a test has killed the process
                socket.send_fds(self._warm[provider], [body], files)
                return
        self._warm[provider] = self._launch(provider)
        socket.send_fds(self._warm[provider], [body], files)

    def _launch(self, provider: str) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "tests.warm_workers", str(theirs.fileno()), provider],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=_ROOT,
            )
        return ours


def parents() -> dict[int, int]:
    """Return the parent of each process of this machine; that of a forked fork server is its server."""
    found, names = dict[int, int](), dict[int, str]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, fields = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                names[int(entry.name)], found[int(entry.name)] = name, int(fields.split()[1])
    for pid, name in names.items():
        # Its workers have the same name.
        if name.startswith(_NAME) and names.get(found[pid]) != name:
            found[pid] = int(name.removeprefix(_NAME))
    return found


def _load(provider: str) -> None:
    """Import what a fork server imports, so that a forked one imports nothing more."""
    from qonduit_server.errors import ProviderError
    from qonduit_server.providers import registry
    from qonduit_server.worker import forkserver
    from qonduit_server.worker.assembly import make_runner

    forkserver.set_library_defaults()
    gc.disable()
    # A fork server reports these failures by itself; a provider of a further package is not known here.
    with contextlib.suppress(ProviderError, ImportError, OSError):
        make_runner(None)
        make_runner(registry.get(provider) if provider else None)
    gc.freeze()
    gc.enable()


def _serve(request: Mapping[str, Any], link: int, errors: int) -> int:
    """Become the fork server."""
    from qonduit_server.worker import forkserver

    # A terminal signals the group of the server.
    os.setpgid(0, os.getpgid(request["server"]))
    Path("/proc/self/comm").write_text(f"{_NAME}{request['server']}")
    os.dup2(errors, 2)
    os.close(errors)
    if link != request["link"]:
        os.dup2(link, request["link"])
        os.close(link)
    become(request["variables"], request["folder"], [forkserver.__file__, *request["arguments"]])
    add_folders(request["variables"])
    return forkserver.main()


def main(control: int, provider: str) -> None:
    """Be a warm process, and then one of the fork servers."""
    _load(provider)
    forks = Forks(socket.socket(fileno=control))
    if (wanted := forks.serve()) is not None:
        request, (link, errors) = wanted
        code = _serve(request, link, errors)
        sys.stderr.flush()
        # As its workers do: the end of an interpreter with an SDK takes longer than a fork.
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
