# SPDX-License-Identifier: Apache-2.0
"""`qonduit environment create`, and server programs in the environment that it builds."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit_client import Client
from qonduit_client.errors import InvalidRequest, JobFailed
from qonduit_server.environment_commands import environment
from tests.server_process import serving_programs

SOURCE = """
import lab_package
def main(backend, user_messenger): ...
"""


def wheel(folder: Path) -> Path:
    """Write a wheel with one module."""
    path = folder / "lab_package-1.5-py3-none-any.whl"
    metadata = "lab_package-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lab_package.py", "value = 5\n")
        archive.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: lab_package\nVersion: 1.5\n")
        archive.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{metadata}/RECORD", "")
    return path


def requirements(path: Path, digest: str) -> Path:
    listed = path.parent / "requirements.txt"
    listed.write_text(f"{path.as_uri()} --hash=sha256:{digest}\n")
    return listed


def create(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(environment, ["create", *arguments])
    return done.exit_code, done.output


@pytest.mark.timeout(240)
def test_a_program_runs_only_in_an_environment_that_has_its_packages(tmp_path: Path) -> None:
    package = wheel(tmp_path)
    listed = requirements(package, hashlib.sha256(package.read_bytes()).hexdigest())
    folder = tmp_path / "environments" / "lab"
    code, written = create("lab", "--folder", str(folder), "--requirements", str(listed))
    assert code == 0, written
    assert f"--python-environments lab={folder}/bin/python" in written
    assert create("lab", "--folder", str(folder), "--requirements", str(listed))[0] == 2
    with (
        serving_programs(tmp_path, python_environments=f"lab={folder}/bin/python") as server,
        Client(server.target) as client,
    ):
        assert client.programs.upload(SOURCE, {"name": "lab"}, options={"environment": "lab"}).environment == "lab"
        with pytest.raises(JobFailed, match=r"'default' lacks lab_package \(line 2\)"):
            client.programs.upload(SOURCE, {"name": "lab"})
        with pytest.raises(JobFailed, match=r"'lab' lacks jsonschema \(it checks return_values and interim_results\)"):
            client.programs.upload(SOURCE, {"name": "lab", "return_values": {}}, options={"environment": "lab"})
        with pytest.raises(InvalidRequest, match=r"no environment .*known: default, lab"):
            client.programs.upload(SOURCE, {"name": "lab"}, options={"environment": "moon"})
        listed_environments = {each.name: each for each in client.languages().python_environments}
        assert listed_environments.keys() == {"default", "lab"}
        assert listed_environments["lab"].packages["lab-package"] == "1.5"


def test_an_environment_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    code, written = create("default", "--folder", str(folder), "--python", "/bin/false")
    assert (code, folder.exists()) == (1, False), written
    assert "failed" in written


def test_only_the_default_environment_has_a_list_of_packages(tmp_path: Path) -> None:
    code, written = create("lab", "--folder", str(tmp_path / "lab"))
    assert (code, "pass --requirements" in written) == (2, True)
    assert create("a=b", "--folder", str(tmp_path / "lab"))[0] == 2
