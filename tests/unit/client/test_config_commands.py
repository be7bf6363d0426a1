# SPDX-License-Identifier: Apache-2.0
"""`qonduit config` changes the configuration file, keeps its comments, and never writes a file that is not valid."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qonduit_client.cli.commands import qonduit
from qonduit_client.named_servers import read_configuration
from tests.unit.client.peer import JOB, Peer

OIDC = ("--issuer", "https://id.example.org", "--client-id", "qonduit")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a configuration file that does not exist yet."""
    path = tmp_path / "new" / "config.toml"
    monkeypatch.setenv("QONDUIT_CONFIG", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return path


def run(*arguments: str) -> Result:
    """Run `qonduit`."""
    return CliRunner().invoke(qonduit, list(arguments))


def done(*arguments: str) -> str:
    """Run `qonduit config`, which succeeds; return its output."""
    result = run("config", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_add_list_use_and_remove(config: Path) -> None:
    assert "no servers" in done("list")
    assert done("path") == f"{config}\n"
    assert done("add", "lab", "quantum.example.org:443", *OIDC, "--audience", "https://q.example.org") == (
        f"added lab: quantum.example.org:443 (default), in {config}\nlog in: qonduit login lab\n"
    )
    done("add", "here", "127.0.0.1")
    done("add", "box", "192.0.2.1:7", "--token-file", "token", "--tls-ca", "ca.pem")
    found = read_configuration()
    assert list(found.servers) == ["lab", "here", "box"]
    lab, here, box = found.servers.values()
    assert lab.oidc is not None
    assert (lab.tls, lab.oidc.audience, lab.oidc.scope) == (True, "https://q.example.org", "openid offline_access")
    assert (here.target, here.tls) == ("127.0.0.1:50051", None)
    assert (box.tls, box.token_file) == (Path("ca.pem").absolute(), Path("token").absolute())
    assert stat.S_IMODE(config.stat().st_mode) == 0o600

    assert done("list").splitlines()[0] == ("* lab   quantum.example.org:443  TLS, login at https://id.example.org")
    assert done("use", "here") == "here (127.0.0.1:50051) is the default server now\n"
    assert read_configuration().default == "here"
    listed = [json.loads(line) for line in done("list", "--json").splitlines()]
    assert [(each["name"], each["default"]) for each in listed] == [("lab", False), ("here", True), ("box", False)]
    assert listed[0]["oidc"]["client_id"] == "qonduit"

    assert "no default server" in done("remove", "here")
    done("remove", "lab")
    assert list(read_configuration().servers) == ["box"]
    assert "id.example.org" not in config.read_text()


def test_comments_and_order_are_kept(config: Path) -> None:
    config.parent.mkdir()
    text = (
        "# mine\ndefault = 'b'  # chosen\n\n[servers.a]  # first\ntarget = 'a:1'\n# about a\n"
        "[servers.b]\ntarget = 'b:1'\n[servers.b.oidc]\nissuer = 'https://i'\nclient_id = 'c'\n\n"
        "# about c\n[servers.c]\ntarget = 'c:1'\n"
    )
    config.write_text(text)
    done("use", "a")
    assert config.read_text() == text.replace("default = 'b'  # chosen\n", "").replace(
        "# mine", 'default = "a"\n# mine'
    )
    done("add", "a", "a:2", "--replace", "--no-tls")
    written = config.read_text()
    assert written.endswith("[servers.c]\ntarget = 'c:1'\n\n[servers.a]\ntarget = \"a:2\"\ntls = false\n")
    assert "# mine" in written
    done("remove", "b")
    assert "# about a" in config.read_text()
    assert "# about c" in config.read_text()
    assert list(read_configuration().servers) == ["c", "a"]
    assert read_configuration().default == "a"


def test_a_file_in_another_form_is_not_changed(config: Path) -> None:
    config.parent.mkdir()
    for text in ('servers = {a = {target = "a:1"}}\n', 'servers.a.target = "a:1"\n'):
        config.write_text(text)
        for arguments in (("remove", "a"), ("add", "a", "b:1", "--replace")):
            result = run("config", *arguments)
            assert result.exit_code == 2
            assert "edit it by hand" in result.stderr or "not valid TOML" in result.stderr
            assert config.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "a.b", "x:1"), "a name consists of"),
        (("add", "localhost", "x:1"), "is not localhost"),
        (("add", "a", "https://x:1"), "'x:1' and --tls"),
        (("add", "a", "x:1", "--no-tls", "--tls-ca", "f"), "--no-tls excludes --tls-ca"),
        (("add", "a", "x:1", "--token-file", "f", *OIDC), "--token-file excludes --issuer"),
        (("add", "a", "x:1", "--issuer", "https://i"), "--issuer requires --client-id"),
        (("add", "a", "x:1", "--audience", "s"), "require --issuer"),
        (("add", "a", "x:1", "--issuer", "http://i", "--client-id", "c"), "issuer: must be an https:// URL"),
        (("add", "lab", "x:1"), "pass --replace"),
        (("remove", "lob"), "did you mean 'lab'?"),
        (("use", "nothing"), "no server is named 'nothing' (servers: lab)"),
    ],
)
def test_arguments_that_are_not_valid(config: Path, arguments: tuple[str, ...], message: str) -> None:
    done("add", "lab", "x:1", *OIDC)
    before = config.read_text()
    result = run("config", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert config.read_text() == before


def test_a_file_that_is_not_valid_is_reported_and_not_changed(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("[servers.a]\ntarget = 1\n")
    for arguments in (("config", "add", "b", "b:1"), ("config", "list"), ("jobs",), ("--server", "a", "jobs")):
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (
            2,
            f"Error: {config}, line 2: servers.a.target: must be a string, got 1\n",
        )
    assert config.read_text() == "[servers.a]\ntarget = 1\n"


def test_a_symbolic_link_stays_one_and_a_device_stays_a_device(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.parent.mkdir()
    config.symlink_to("dotfiles.toml")
    done("add", "a", "a:1")
    assert config.is_symlink()
    assert "a:1" in (config.parent / "dotfiles.toml").read_text()
    monkeypatch.setenv("QONDUIT_CONFIG", os.devnull)
    result = run("config", "add", "a", "a:1")
    assert result.exit_code == 2
    assert "/dev/null: not a regular file" in result.stderr
    assert Path(os.devnull).is_char_device()


def test_a_command_calls_the_named_server(config: Path, peer: Peer) -> None:
    done("add", "peer", peer.target)
    for arguments in (("--server", "peer", "job", str(JOB)), ("job", str(JOB), "--server", "peer"), ("job", str(JOB))):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    assert len(peer.called) == 3


def test_a_misspelt_name_is_reported_with_the_file(config: Path) -> None:
    done("add", "lab", "192.0.2.1:1")
    result = run("--server", "no-such-host-here", "jobs")
    assert result.exit_code == 5
    assert f"{config} contains no server named 'no-such-host-here'" in result.stderr


def test_whoami_without_a_login(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QONDUIT_TOKEN", raising=False)
    monkeypatch.delenv("QONDUIT_SERVER", raising=False)
    result = run("whoami", "--json")
    assert json.loads(result.stdout) == {
        "server": None,
        "target": "127.0.0.1:50051",
        "credentials": "none: calls are anonymous",
    }
    monkeypatch.setenv("QONDUIT_TOKEN", "opaque-secret")
    result = run("whoami")
    assert result.stdout.splitlines()[-1].split() == ["credentials", "QONDUIT_TOKEN"]
    assert "opaque-secret" not in result.stdout
    token = config.parent.parent / "token"
    token.write_text("another-secret")
    token.chmod(0o600)
    done("add", "box", "192.0.2.1:1", "--token-file", str(token))
    assert json.loads(run("whoami", "box", "--json").stdout)["credentials"] == str(token)
    token.chmod(0o644)
    result = run("whoami", "box")
    assert result.exit_code == 2
    assert f"run `chmod 600 {token}`" in result.stderr
