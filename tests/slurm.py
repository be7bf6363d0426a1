# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for tests: a controller and its nodes, all on this machine, with every listener on loopback.

Runs Debian's packages in a temporary folder, whichever user runs the tests. Control groups need root: it has none.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.missing_components import lacking
from tests.server_process import free_port

#: How long a daemon may take to start, and a command to it.
SECONDS: Final = 120.0
PROGRAMS: Final = ("slurmctld", "slurmd", "sbatch", "munged")
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
#: The time from SIGTERM to SIGKILL for a cancelled job.
KILL_SECONDS: Final = 30


def is_installed() -> bool:
    """Return whether Slurm is installed."""
    return all(shutil.which(program, path=_PATH) for program in PROGRAMS)


class SlurmCluster:
    """A cluster whose nodes can be killed.

    Args:
        nodes: the names of its nodes, each with 4 cores and 8 GB for Slurm, whatever this machine has.
    """

    def __init__(self, nodes: tuple[str, ...] = ("one", "two")) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="qslurm"))
        self._root.chmod(0o755)
        self._munge = self._root / "munge"
        self._munge.mkdir(mode=0o755)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        key = self._munge / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        for name in ("state", "spool"):
            (self._root / name).mkdir()
        (self._root / "slurm.conf").write_text(self._configuration(nodes))
        self.environment: Final = {"SLURM_CONF": str(self._root / "slurm.conf")}
        files = [f"--{name}-file={self._munge / name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={self._munge / 'socket'}", *files)
        self._start("slurmctld", "-D", "-i")
        for node in nodes:
            self.start_node(node)
        deadline = time.monotonic() + SECONDS
        while self.command("sinfo", "--noheader", "--format=%t %D", fails=True).split() != ["idle", str(len(nodes))]:
            if time.monotonic() > deadline or any(each.poll() is not None for each in self._daemons.values()):
                raise RuntimeError(f"Slurm did not start: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def _configuration(self, nodes: tuple[str, ...]) -> str:
        lines = [
            "ClusterName=test",
            "SlurmctldHost=localhost(127.0.0.1)",
            f"SlurmctldPort={free_port()}",
            f"SlurmUser={getpass.getuser()}",
            f"SlurmdUser={getpass.getuser()}",
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self._munge / 'socket'}",
            "CredType=cred/munge",
            "MpiDefault=none",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "SwitchType=switch/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "SchedulerParameters=sched_interval=1,batch_sched_delay=0",
            "SlurmdParameters=config_overrides",
            f"StateSaveLocation={self._root / 'state'}",
            f"SlurmdSpoolDir={self._root / 'spool'}/%n",
            f"SlurmctldPidFile={self._root / 'slurmctld.pid'}",
            f"SlurmdPidFile={self._root / 'slurmd'}-%n.pid",
            "ReturnToService=2",
            f"KillWait={KILL_SECONDS}",
            # A node is down after this time without an answer.
            "SlurmdTimeout=5",
            *(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 RealMemory=8000"
                for name in nodes
            ),
            f"PartitionName=main Nodes={','.join(nodes)} Default=YES State=UP",
        ]
        return "\n".join([*lines, ""])

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-D", "-N", name, key=name)

    def kill_node(self, name: str) -> None:
        """Kill a node as a loss of power does: its daemon, and all processes of its jobs."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()
        self._kill_processes(f"SLURMD_NODENAME={name}")

    def submit(self, *arguments: str, **variables: str) -> int:
        """Submit a job; return its id."""
        return int(self.command("sbatch", "--parsable", *arguments, **variables))

    def state(self, job: int) -> str:
        """Return the state of a job, such as "RUNNING"."""
        return self.command("squeue", f"--jobs={job}", "--states=all", "--noheader", "--format=%T").strip()

    def wait(self, job: int, *states: str) -> str:
        """Wait until a job has one of these states, and return it."""
        deadline = time.monotonic() + SECONDS
        while (state := self.state(job)) not in states:
            if time.monotonic() > deadline:
                raise AssertionError(f"job {job} is {state}: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.1)
        return state

    def variables(self, **more: str) -> dict[str, str]:
        """Return the environment of a command of Slurm."""
        return os.environ | self.environment | more

    def command(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command of Slurm, which may fail if `fails` is set, and return its output."""
        done = subprocess.run(
            command,
            env=self.variables(**variables),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode and not fails:
            raise RuntimeError(f"{command} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """Cancel all jobs, end all daemons and delete their files."""
        self.command("scancel", f"--user={getpass.getuser()}", fails=True)
        deadline = time.monotonic() + KILL_SECONDS
        while self.command("squeue", "--noheader", fails=True) and time.monotonic() < deadline:
            time.sleep(0.1)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            daemon.wait(SECONDS)
        self._kill_processes(f"SLURM_CONF={self.environment['SLURM_CONF']}")
        shutil.rmtree(self._root, ignore_errors=True)

    def _start(self, program: str, *arguments: str, key: str = "") -> None:
        path = shutil.which(program, path=_PATH)
        assert path is not None
        with (self._root / "output").open("ab") as output:
            self._daemons[key or program] = subprocess.Popen(
                [path, *arguments],
                env=os.environ | {"SLURM_CONF": str(self._root / "slurm.conf")},
                stdout=output,
                stderr=output,
            )

    def _kill_processes(self, variable: str) -> None:
        """Kill the processes of this cluster that have a variable: those of jobs have no parent here."""
        own = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(int(entry.name))
                try:
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    if own in variables and variable.encode() in variables:
                        self._kill_step(entry)
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)

    def _kill_step(self, process: Path) -> None:
        """Kill the daemon of a job's step, the parent of the job: it overwrites its own variables."""
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        if Path(f"/proc/{parent}/exe").resolve().name.startswith("slurmstepd"):
            os.kill(parent, signal.SIGKILL)


def start_or_skip() -> SlurmCluster:
    """Start a cluster; without Slurm, fail in CI and skip elsewhere."""
    if not is_installed():
        lacking("worker machines in jobs of Slurm", "Slurm")
    return SlurmCluster()
