# SPDX-License-Identifier: Apache-2.0
"""The image of deploy/Containerfile, in real containers (`make deploy`)."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.certificate_authority import CertificateAuthority
from tests.deploy.containers import ROOT, Containers
from tests.missing_components import lacking
from tests.postgresql import PostgresqlServer, find_binaries
from tests.rabbitmq import RabbitmqBroker

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

USER = 10001
_SECONDS = 300
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
#: A state that is large enough for several threads; the gates are no Clifford gates.
LARGE = (
    f'OPENQASM 2.0; include "qelib1.inc"; qreg q[21]; creg c[21]; {"rx(0.3) q; cx q[0],q[1]; " * 20} measure q -> c;'
)
#: Prints the number of threads of each worker.
THREADS = """for process in /proc/[0-9]*; do
  tr '\\0' ' ' < $process/cmdline | grep -q -- '--provider IBM' || continue
  grep -oP 'Threads:\\s+\\K.*' $process/status
done"""
#: A volume for the database, with the owner of the folder in the image.
DATA = ("--volume=/var/lib/qonduit",)
DEVICES = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator", "STIM/stim")


def settings(text: str) -> dict[str, str]:
    """Return the rows of `serve --check-config`."""
    return {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}


def test_the_image_runs_as_a_user_with_few_rights(containers: Containers, image: str) -> None:
    (found,) = json.loads(containers.podman("image", "inspect", image).stdout)
    assert found["Config"]["User"] == f"{USER}:{USER}"
    done = containers.run("--entrypoint=/bin/sh", image, "-c", "id -u; touch /opt/qonduit/x /var/lib/qonduit/x; id -u")
    assert done.stdout.split() == [str(USER), str(USER)]
    assert done.stderr.count("Read-only file system") == 2


def test_the_image_runs_in_the_isolation_of_its_build(containers: Containers, image: str) -> None:
    name = containers.buildah("from", "--pull-never", image)
    assert containers.buildah("run", "--isolation=chroot", name, "--", "qonduit", "--version").startswith("qonduit, ")
    containers.buildah("rm", name)


def test_a_container_without_tls_and_authentication_does_not_start(containers: Containers, image: str) -> None:
    done = containers.run(image)
    assert done.returncode == 1
    assert "refusing to listen on 0.0.0.0:50051 without TLS" in done.stderr


def test_workers_threads_and_memory_follow_the_quotas_of_the_container(containers: Containers, image: str) -> None:
    check = (image, "serve", "--check-config", "--allow-insecure-remote-access=on")
    free = settings(containers.run(*DATA, *check).stdout)
    assert int(free["workers"]) == len(os.sched_getaffinity(0))
    quotas = (*DATA, "--cpus=0.7", "--memory=1g")
    limited = settings(containers.run(*quotas, *check).stdout)
    assert limited["workers"] == "1"
    assert limited["max_memory_bytes"] == str(3 * 1024**3 // 4)
    assert limited["max_task_memory_bytes"] == str(1024**3 // 2)
    assert int(free["max_memory_bytes"]) > int(limited["max_memory_bytes"])
    # The SDK has threads of its own beside those of the simulation.
    one, all_cores = threads_of_a_large_job(containers, image, "--cpus=1"), threads_of_a_large_job(containers, image)
    assert all_cores - one == len(os.sched_getaffinity(0)) - 1


def threads_of_a_large_job(containers: Containers, image: str, *quotas: str) -> int:
    """Return the number of threads of the worker that ran a large circuit; they remain after the job."""
    insecure = ("-e", "QONDUIT_ALLOW_INSECURE_REMOTE_ACCESS=on", "-e", "QONDUIT_PROVIDERS=IBM", "--read-only")
    # One process compiles and runs.
    options = ("--network=none", "--tmpfs=/tmp", "-e", "QONDUIT_WORKERS=1")
    with containers.running(*options, *DATA, *insecure, *quotas, image) as name:
        wait_until_serving(containers, name)
        submit(containers, name, LARGE, "IBM/aer_simulator")
        text = containers.podman("exec", name, "sh", "-c", THREADS).stdout
    return max(map(int, text.split()))


def wait_until_serving(containers: Containers, name: str) -> str:
    """Wait for the line that a server prints when it accepts calls, and return its address."""
    deadline = time.monotonic() + _SECONDS
    while "serving on" not in (logs := containers.podman("logs", name)).stdout:
        assert time.monotonic() < deadline, logs.stderr
        assert containers.podman("container", "exists", name).returncode == 0, logs.stderr
        threading.Event().wait(0.2)
    return logs.stdout.split()[-1]


def submit(containers: Containers, name: str, program: str, device: str, *options: str) -> None:
    """Run a program with the client of the image; it must succeed."""
    source = f"echo '{program}' > /tmp/program.qasm && exec qonduit \"$@\""
    arguments = (*options, "run", "/tmp/program.qasm", "--device", device, "--shots", "100")
    done = containers.podman("exec", name, "sh", "-c", source, "sh", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_and_the_worker_of_the_compose_file_run_jobs(
    containers: Containers, image: str, tmp_path: Path, rabbitmq: RabbitmqBroker
) -> None:
    """With the options, the secrets and the variables of the file; PostgreSQL and RabbitMQ are this machine's."""
    if (binaries := find_binaries()) is None:
        lacking("the server of deploy/compose.yaml", "PostgreSQL")
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o777)
    secrets.chmod(0o777)
    authority = CertificateAuthority(secrets)
    authority.issue("server")
    # Created by the command of the image, as documented.
    create = ("token", "create", "--config=/dev/null", "anna", "--token-file", "/etc/qonduit/secrets/tokens.json")
    made = containers.run("-v", f"{secrets}:/etc/qonduit/secrets", image, *create)
    assert made.returncode == 0, made.stderr
    for path in secrets.iterdir():
        os.chown(path, USER, USER)
    postgresql = PostgresqlServer(binaries)
    (folder,) = re.findall(r"host=(.*)", postgresql.url())
    Path(folder).chmod(0o711)
    local = ("--network=host", f"--env=QONDUIT_BROKER={rabbitmq.url()}")
    store = (f"--env=QONDUIT_DATABASE={postgresql.url()}", f"--volume={folder}:{folder}")
    listen = "--env=QONDUIT_LISTEN=127.0.0.1:0"
    try:
        with (
            containers.running(*composed("worker", tmp_path), *local, image, "worker") as worker,
            containers.running(*composed("server", tmp_path), *local, *store, listen, image) as server,
        ):
            target = wait_until_serving(containers, server)
            wait_until_offered(containers, server, target, made.stdout.strip())
            access = access_to(target, made.stdout.strip())
            for device in DEVICES:
                submit(containers, server, BELL, device, *access)
            for name in (server, worker):
                done = containers.podman("stop", "--time=60", name)
                assert done.returncode == 0, done.stderr
                (state,) = json.loads(containers.podman("inspect", name).stdout)
                assert state["State"]["ExitCode"] == 0
                assert '"stopped"' in containers.podman("logs", name).stderr
    finally:
        postgresql.stop()
        shutil.rmtree(folder, ignore_errors=True)


def access_to(target: str, token: str) -> tuple[str, ...]:
    """Return the options of a client in the container of the server."""
    return ("--server", target, "--tls-ca", "/etc/qonduit/secrets/authority.pem", "--token", token)


def wait_until_offered(containers: Containers, name: str, target: str, token: str) -> None:
    """Wait until the worker machine has described the devices of the tests."""
    deadline = time.monotonic() + _SECONDS
    command = ("exec", name, "qonduit", *access_to(target, token), "devices", "--filter", "available = true")
    while not all(device in (shown := containers.podman(*command).stdout) for device in DEVICES):
        assert time.monotonic() < deadline, shown
        threading.Event().wait(0.5)


def composed(name: str, folder: Path) -> list[str]:
    """Return the options of podman that mean what a service of the file contains."""
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][name]
    environment = {key: value for key, value in service["environment"].items() if key.startswith("QONDUIT_")}
    assert service["init"]
    assert service["read_only"]
    mounts = [each.replace("./", f"{folder}/") for each in service["volumes"] if each.startswith("./")]
    return [
        *("--init", "--read-only", f"--stop-timeout={service['stop_grace_period'].removesuffix('s')}"),
        *(f"--tmpfs={each}" for each in service["tmpfs"]),
        *(f"--cap-drop={each}" for each in service["cap_drop"]),
        *(f"--security-opt={each.removesuffix(':true')}" for each in service["security_opt"]),
        *(f"--env={key}={value}" for key, value in environment.items()),
        *(f"--volume={each}" for each in [*mounts, "/var/cache/qonduit"]),
    ]
