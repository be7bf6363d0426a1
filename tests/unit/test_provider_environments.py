# SPDX-License-Identifier: Apache-2.0
"""Environments of providers: their states, which providers a server offers by default, and failed installations."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit_server import provider_environments
from qonduit_server.errors import StartError
from qonduit_server.provider_commands import provider
from qonduit_server.provider_environments import offered_providers, vendor_pythons
from qonduit_server.settings import Settings
from tests.unit.test_diagnostics import examine
from tests.vendor_cloud.environments import environment_python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the environment of IONQ."""
    built = Path(environment_python("IONQ")).parents[1]
    shutil.copytree(built, tmp_path / "ionq", symlinks=True)
    return tmp_path


def state(folder: Path) -> str:
    return {each.provider: each.state for each in provider_environments.environments(str(folder))}["IONQ"]


def test_a_process_of_a_vendor_needs_neither_qiskit_nor_readers(folder: Path) -> None:
    code = (
        "import json, sys\n"
        "import qonduit_server.worker.vendor_process\n"
        "from qonduit_server.providers import registry\n"
        "registry.get_remote('IONQ').connect('a-key')\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    python = folder / "ionq" / "bin" / "python"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    loaded = set(json.loads(done.stdout))
    assert {"ionq_core", "httpx", "qonduit", "qonduit_server"} <= loaded
    assert not {"qiskit", "numpy", "quil", "openqasm3", "grpc", "sqlalchemy"} & loaded
    absent = "import importlib.util as u; print([n for n in ('qiskit', 'numpy', 'quil', 'grpc') if u.find_spec(n)])"
    done = subprocess.run([str(python), "-c", absent], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.strip() == "[]"


def test_a_server_finds_an_installed_environment_and_offers_its_provider(folder: Path) -> None:
    settings = Settings(provider_environments=str(folder))
    assert "IONQ" in offered_providers(settings)
    assert vendor_pythons(settings) == {"IONQ": str(folder / "ionq" / "bin" / "python")}
    stated = Settings(provider_environments=str(folder), vendor_python={"IONQ": "/opt/python"})
    assert vendor_pythons(stated) == {"IONQ": "/opt/python"}


def test_a_server_without_environments_offers_the_other_providers(tmp_path: Path) -> None:
    empty = str(tmp_path / "none")
    offered = offered_providers(Settings(provider_environments=empty))
    assert "IBM" in offered
    assert "IONQ" not in offered
    assert "IONQ" in offered_providers(Settings(provider_environments=empty, vendor_python={"IONQ": "/opt/python"}))
    assert offered_providers(Settings(provider_environments=empty, providers=("IONQ",))) == ("IONQ",)


def test_the_states_of_an_environment(folder: Path) -> None:
    assert state(folder) == "ready"
    (folder / "ionq" / "requirements.txt").write_text("another list")
    assert state(folder) == "outdated"
    assert "IONQ" in vendor_pythons(Settings(provider_environments=str(folder)))
    (link,) = folder.glob("ionq/lib/python3*/site-packages/qonduit_server")
    link.unlink()
    link.symlink_to(folder, target_is_directory=True)
    assert state(folder) == "broken"
    assert not vendor_pythons(Settings(provider_environments=str(folder)))
    (folder / "ionq" / "requirements.txt").unlink()
    assert state(folder) == "not installed"


@pytest.mark.parametrize("wrong", ["outdated", "broken"])
def test_the_doctor_names_environments_to_install_again(folder: Path, wrong: str) -> None:
    (folder / "ionq" / "requirements.txt").write_text("another list")
    if wrong == "broken":
        (folder / "ionq" / "bin" / "python").unlink()
    (finding,) = examine(provider_environments=str(folder))
    assert f"of IONQ is {wrong}" in finding.what
    assert "qonduit provider install IONQ" in finding.how_to_mend


def test_a_failed_installation_leaves_the_earlier_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ionq" / "requirements.txt").write_text("another list")
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_CACHE_DIR"):
        monkeypatch.setenv(name, str(folder.with_name("nothing")))
    with pytest.raises(StartError, match=r"failed: "):
        provider_environments.install(str(folder), "IONQ")
    assert state(folder) == "outdated"
    assert [each.name for each in folder.iterdir()] == ["ionq"]


def test_the_commands_list_and_remove(folder: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(provider, [*arguments, "--provider-environments", str(folder)])
        return done.exit_code, done.output

    code, output = run("list")
    assert (code, output.split()[3:5]) == (0, ["IONQ", "ready"])
    assert run("remove", "ionq") == (0, "removed the environment of IONQ\n")
    assert run("remove", "ionq") == (1, "qonduit: no environment of IONQ is installed\n")
    assert "not installed" in run("list")[1]
    code, output = run("install", "IBM")
    assert code == 1
    assert "IBM needs no environment of its own; those that do: IONQ" in output


def test_every_list_of_packages_has_hashes_and_names_no_index() -> None:
    lists = sorted(Path(provider_environments.__file__).with_name("provider_requirements").glob("*.txt"))
    assert [each.stem.upper() for each in lists] == list(provider_environments.available())
    for each in lists:
        entries = each.read_text().replace("\\\n", " ").splitlines()
        assert entries
        for entry in entries:
            assert "==" in entry
            assert "--hash=sha256:" in entry
            assert "://" not in entry
