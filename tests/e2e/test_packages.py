# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist, installed as users install them, into environments without other packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from qonduit_client import Client
from qonduit_client.distribution import DISTRIBUTION
from tests.package_installation import PATIENCE, uv
from tests.server_process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'
UNTESTED = "the packages, installed into empty environments"

pytestmark = pytest.mark.timeout(2 * PATIENCE)

#: A program of a Qiskit user; it must not need the server's libraries.
QISKIT = """
import importlib.metadata, importlib.util, sys
from qiskit import QuantumCircuit
from qonduit_client.qiskit import QonduitBackend, QonduitProvider

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
backend = QonduitProvider(sys.argv[1]).get_backend("IBM/aer_simulator")
counts = backend.run(bell, shots=200).result(timeout=60).get_counts()
assert set(counts) == {"00", "11"} and sum(counts.values()) == 200, counts
for absent in ("buf", "protovalidate", "sqlalchemy", "qiskit_aer"):
    assert importlib.util.find_spec(absent) is None, absent
print(importlib.metadata.version("qonduit-quantum"))
"""

#: A few lines of a user that mypy must check without further configuration.
TYPED = """
import grpc
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2 import GetJobRequest, WatchJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit_client import Client, JobHandle, Result

with Client("127.0.0.1:50051") as client:
    job = client.run("OPENQASM 2.0;", device="IBM/aer_simulator", shots=1000)
    for event in job.events():
        reveal_type(event)
        reveal_type(event.sequence)
    reveal_type(job)
    reveal_type(job.result(timeout=60))
    reveal_type(job.result(timeout=60).counts)
    reveal_type(client.devices()[0].name)
    reveal_type(Job(id=1, state=JobState.JOB_STATE_QUEUED).shots)

with grpc.insecure_channel("127.0.0.1:50051") as channel:
    stub = JobServiceStub(channel)
    reveal_type(stub.GetJob(GetJobRequest(id=1)).job)
    for answer in stub.WatchJob(WatchJobRequest(job_id=1), timeout=60):
        reveal_type(answer.event)
"""
REVEALED = [
    "qonduit.v1.event_pb2.JobEvent",
    "int",
    "qonduit_client.job.JobHandle",
    "qonduit_client.result.Result",
    "dict[str, int]",
    "str",
    "int",
    "qonduit.v1.job_pb2.Job",
    "qonduit.v1.event_pb2.JobEvent",
]


def environment(folder: Path, package: Path, extras: str, *further: str) -> Path:
    """Return the bin folder of an environment with the package and its requirements, pinned by requirements.lock."""
    uv("venv", "--python", sys.executable, folder, untested=UNTESTED)
    wanted = [f"{DISTRIBUTION}[{extras}] @ {package.as_uri()}" if extras else str(package), *further]
    install = ("pip", "install", "--python", folder / "bin" / "python", "--constraint", "requirements.lock")
    uv(*install, *wanted, untested=UNTESTED)
    return folder / "bin"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--python", sys.executable, "--out-dir", folder, untested=UNTESTED)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def client_only(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with `[qiskit]` alone, and the types of its libraries."""
    typing = ("types-protobuf", "types-grpcio")
    return environment(tmp_path_factory.mktemp("client"), built[0], "qiskit", *typing)


def test_the_packages_have_the_expected_files_and_metadata(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
        (described,) = [name for name in files if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(described).decode())
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qonduit", "qonduit_client", "qonduit_server"}
    assert {"qonduit/py.typed", "qonduit_client/py.typed"} <= set(files)
    # The lists of packages from which `qonduit provider install` builds environments.
    assert {f"qonduit_server/provider_requirements/{name}.txt" for name in ("ionq", "iqm", "rigetti")} <= set(files)
    assert not [name for name in files if "__pycache__" in name or name.startswith("tests/")]
    assert metadata["Name"] == DISTRIBUTION
    assert "Operating System :: POSIX" in metadata.get_all("Classifier", [])
    assert {url.split(",")[0] for url in metadata.get_all("Project-URL", [])} >= {"Homepage", "Documentation", "Source"}
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "protos/qonduit/v1/job.proto"} <= inside
    assert not [name for name in inside if name.startswith(("tests", ".venv", "build"))]


def test_a_user_of_qiskit_installs_the_qiskit_adapter_only(client_only: Path, server: Server) -> None:
    done = subprocess.run(
        [client_only / "python", "-I", "-c", QISKIT, server.target],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Between tags, the version is that of the next release with the number of commits and the last one.
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?(\.dev\d+)?(\+\S+)?\n", done.stdout)


def test_the_command_line_names_the_extra_that_installs_the_server(client_only: Path) -> None:
    done = subprocess.run(
        [client_only / "qonduit", "serve"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert f'pip install "{DISTRIBUTION}[server]"' in done.stderr


def test_mypy_knows_every_type_of_a_small_client(client_only: Path, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--disallow-any-expr", "--cache-dir", tmp_path / "cache"]
    command += ["--config-file", "", "--python-executable", client_only / "python", "client.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Older mypy writes builtins.int.
    assert re.findall(r'Revealed type is "(.*)"', done.stdout.replace("builtins.", "")) == REVEALED


def test_a_server_is_installed_from_the_sdist_and_serves(built: tuple[Path, Path], tmp_path: Path) -> None:
    installed = environment(tmp_path / "environment", built[1], "server,ibm")
    assert not list(installed.parent.glob("lib/python*/site-packages/buf"))
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    command = [str(installed / "qonduit"), "serve"]
    with serving(url, command=command, providers="IBM") as running, Client(running.target) as client:
        counts = client.run(BELL, device="IBM/aer_simulator", shots=200).result(timeout=PATIENCE).counts
    assert set(counts) == {"0x0", "0x3"}
    assert sum(counts.values()) == 200


def test_install_hints_name_this_project() -> None:
    folders = ("server", "clients/python", "docs", "tests", "protos")
    files = [
        *ROOT.glob("*.*"),
        ROOT / "clients" / "README.md",
        *(path for each in folders for path in (ROOT / each).rglob("*")),
    ]
    wrong = re.compile(r"""qonduit\\?\[\{?['"]?[a-z]|install ["'`]?qonduit(?![-_\w])""")
    places = []
    for path in files:
        if path.suffix in {".py", ".md", ".toml", ".proto", ".yml"} and path != Path(__file__):
            lines = path.read_text().splitlines()
            places += [f"{path.relative_to(ROOT)}: {line.strip()}" for line in lines if wrong.search(line)]
    assert not places
