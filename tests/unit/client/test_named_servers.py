# SPDX-License-Identifier: Apache-2.0
"""Servers by name: which server a client calls, with which token and TLS, and the errors of an invalid file."""

# ruff: noqa: E501 (a case a line)

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from qonduit_client import Client, aio
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import ConfigInvalid, LoginRequired, Refused, ServerUnavailable
from qonduit_client.named_servers import DEFAULT_SCOPE, OidcClient, config_path, read_configuration
from qonduit_client.retry import Retry
from tests.both_clients import Connect
from tests.unit.client.peer import JOB, Peer, Refusal, serving_peer
from tests.unit.client.test_tls import certificate, secured

LAB = '[servers.lab]\ntarget = "quantum.example.org:443"\ntls = true\n'
OIDC = '\n[servers.lab.oidc]\nissuer = "https://id.example.org"\nclient_id = "qonduit"\n'


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a configuration file that does not exist yet."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("QONDUIT_CONFIG", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("QONDUIT_SERVER", "QONDUIT_TOKEN", "QONDUIT_TLS"):
        monkeypatch.delenv(name, raising=False)
    return path


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with this mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_place_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("QONDUIT_CONFIG", "~/own.toml")
    assert config_path() == tmp_path / "own.toml"
    monkeypatch.delenv("QONDUIT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert config_path() == Path("/etc/xdg/qonduit/config.toml")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert config_path() == tmp_path / ".config/qonduit/config.toml"


def test_all_settings_are_read(config: Path) -> None:
    ca = certificate(config.parent, "ca", "DNS:quantum.example.org")
    config.write_text(
        'default = "lab"\n[servers.lab]\ntarget = "quantum.example.org"\ntls = "ca.pem"\n'
        '[servers.lab.oidc]\nissuer = "https://id.example.org"\nclient_id = "q"\nscope = "openid"\naudience = "a"\n'
        '[servers.box]\ntarget = "127.0.0.1:1"\ntoken_file = "~/token"\n'
    )
    found = read_configuration()
    assert found.default == "lab"
    lab, box = found.server(), found.server("box")
    assert (lab.target, lab.tls, lab.token_file) == ("quantum.example.org:50051", ca, None)
    assert lab.oidc == OidcClient("https://id.example.org", "q", "openid", "a")
    assert (box.tls, box.token_file, box.oidc) == (None, Path("~/token").expanduser(), None)
    config.write_text(LAB + OIDC)
    oidc = read_configuration().server("lab").oidc
    assert oidc is not None
    assert oidc.scope == DEFAULT_SCOPE


def test_which_server_a_client_calls(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Endpoint().target == "127.0.0.1:50051"
    config.write_text(LAB + '[servers.box]\ntarget = "192.0.2.1:7"\n')
    assert Endpoint().target == "127.0.0.1:50051"
    assert Endpoint("lab").target == "quantum.example.org:443"
    assert Endpoint("lab").credentials is not None
    assert Endpoint("box").credentials is None
    config.write_text('default = "box"\n' + config.read_text())
    assert Endpoint().target == "192.0.2.1:7"
    monkeypatch.setenv("QONDUIT_SERVER", "lab")
    assert Endpoint().target == "quantum.example.org:443"
    monkeypatch.setenv("QONDUIT_SERVER", "192.0.2.2")
    assert Endpoint().target == "192.0.2.2:50051"
    # A name that the file lacks is a host; an address with a port, a dot or a slash is never a name.
    assert Endpoint("other").target == "other:50051"
    assert Endpoint("lab:50051").target == "lab:50051"
    assert Endpoint("lab.").target == "lab.:50051"
    assert Endpoint("localhost").target == "localhost:50051"


def test_the_certificates_of_the_file_are_trusted(config: Path, connect: Connect) -> None:
    ca = certificate(config.parent, "ca", "DNS:localhost,IP:127.0.0.1")
    token = private(config.parent / "token", "own")
    with serving_peer(secured(ca)) as peer:
        for tls in (f'"{ca.name}"', "true"):
            config.write_text(f'[servers.box]\ntarget = "{peer.target}"\ntls = {tls}\ntoken_file = "{token.name}"\n')
            with connect("box") as client:
                if tls == "true":
                    with pytest.raises(ServerUnavailable, match="not signed by a trusted CA"):
                        client.job(JOB).job()
                else:
                    client.job(JOB).job()
        assert [sent for _, sent in peer.called] == ["Bearer own"]


def test_a_rejected_token_file_is_named(config: Path, peer: Peer, connect: Connect) -> None:
    token = private(config.parent / "token", "old")
    config.write_text(f'[servers.box]\ntarget = "{peer.target}"\ntoken_file = "token"\n')
    peer.refusals.append(Refusal(grpc.StatusCode.UNAUTHENTICATED, "unknown token"))
    with connect("box") as client, pytest.raises(Refused, match=f"^unknown token: replace the token in {token}$"):
        client.job(JOB).job()


@pytest.mark.parametrize("kind", [Client, aio.Client])
def test_from_config(config: Path, kind: type[Client]) -> None:
    config.write_text('default = "lab"\n' + LAB)
    assert kind.from_config("lab").target == kind.from_config().target == "quantum.example.org:443"
    with pytest.raises(
        ConfigInvalid, match=r"config.toml: no server is named 'la' \(servers: lab\); did you mean 'lab'"
    ):
        kind.from_config("la")
    config.write_text(LAB)
    with pytest.raises(ConfigInvalid, match=r"no default server .* `qonduit config use NAME`"):
        kind.from_config()


def test_the_token_file_is_read_for_each_call(config: Path, peer: Peer, connect: Connect) -> None:
    token = private(config.parent / "token", "first\n")
    config.write_text(f'[servers.box]\ntarget = "{peer.target}"\ntoken_file = "token"\n')
    with connect("box") as client:
        client.job(JOB).job()
        private(token, "second")
        client.job(JOB).job()
    assert [authorization for _, authorization in peer.called] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("secret", 0o640, r"other users have access to .*token \(mode 0640\): run `chmod 600 .*token`"),
        ("secret", 0o604, "mode 0604"),
        ("two words", 0o600, "must contain one token"),
        ("", 0o600, "must contain one token"),
        ("x" * 300_000, 0o600, "larger than 262144 bytes"),
    ],
)
def test_a_token_file_that_is_not_valid(
    config: Path, peer: Peer, connect: Connect, text: str, mode: int, message: str
) -> None:
    private(config.parent / "token", text, mode)
    config.write_text(f'[servers.box]\ntarget = "{peer.target}"\ntoken_file = "token"\n')
    with connect("box") as client, pytest.raises(ConfigInvalid, match=message) as caught:
        client.job(JOB).job()
    assert "servers.box.token_file" in caught.value.message
    assert "secret" not in str(caught.value)
    assert peer.called == []


def test_credentials_of_a_name_are_not_mixed_with_those_of_the_environment(
    config: Path, peer: Peer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is exported for another server is not sent to a server with credentials of its own."""
    private(config.parent / "token", "own")
    config.write_text(
        f'[servers.box]\ntarget = "{peer.target}"\ntoken_file = "token"\n[servers.bare]\ntarget = "{peer.target}"\n'
    )
    monkeypatch.setenv("QONDUIT_TOKEN", "exported")
    for target, options in (("box", {}), ("bare", {}), ("box", {"token": "argument"})):
        with connect(target, **options) as client:
            client.job(JOB).job()
    assert [sent for _, sent in peer.called] == ["Bearer own", "Bearer exported", "Bearer argument"]


def test_a_server_with_a_login_requires_one(config: Path, peer: Peer, connect: Connect) -> None:
    config.write_text(f'[servers.lab]\ntarget = "{peer.target}"\n{OIDC}')
    with connect("lab") as client, pytest.raises(LoginRequired, match="run `qonduit login lab`") as caught:
        client.job(JOB).job()
    assert (caught.value.status, caught.value.reason) == ("UNAUTHENTICATED", "LOGIN_REQUIRED")
    assert peer.called == []


def test_no_token_of_a_name_crosses_a_network_in_plain_text(config: Path) -> None:
    config.write_text('[servers.lab]\ntarget = "quantum.example.org:443"\n' + OIDC)
    with pytest.raises(ValueError, match=r"plain text.*set tls in \[servers.lab\] of .*config.toml"):
        Endpoint("lab")


def test_a_host_that_may_be_a_misspelt_name(config: Path, connect: Connect) -> None:
    config.write_text(LAB)
    with (
        connect("no-such-host-here", connect_timeout=0.1, retry=Retry(first=0.001)) as client,
        pytest.raises(ServerUnavailable, match=r"config.toml contains no server named 'no-such-host-here'"),
    ):
        client.job(JOB).job()


#: The file, and what the error contains after its path.
INVALID = {
    "no TOML": ("[servers.lab\n", "not valid TOML: .*line 1"),
    "not UTF-8": (b"a = 1\n\xff\n", ", line 2: not valid UTF-8"),
    "too large": (b"#" * 1_100_000, "larger than 1048576 bytes"),
    "an unknown key at the top": ("x = 1\n", "x: unknown key .allowed: default, servers."),
    "a misspelt key": (LAB + 'tls_ca = "x"\n', r", line 4: servers.lab.tls_ca: unknown key"),
    "a token in the file": (LAB + 'token = "abc"\n', ", line 4: servers.lab.token: unknown key .*did you mean 'token_file'"),
    "no target": ("\n[servers.lab]\ntls = true\n", ", line 2: servers.lab.target: is required: HOST:PORT"),
    "a target that is a URL": ('[servers.lab]\ntarget = "https://a:1"\n', "line 2: servers.lab.target: target must be HOST:PORT"),
    "a target that is a number": ("[servers.lab]\ntarget = 50051\n", "line 2: servers.lab.target: must be a string, got 50051"),
    "tls that is a number": ("[servers.lab]\ntarget = 'a'\ntls = 1\n", "line 3: servers.lab.tls: must be true, false or the path"),
    "tls that is empty": ("[servers.lab]\ntarget = 'a'\ntls = ''\n", "line 3: servers.lab.tls: must be the path of a file"),
    "a server that is no table": ('[servers]\nlab = "a:1"\n', "line 2: servers.lab: must be a table, got 'a:1'"),
    "servers that are no table": ("servers = []\n", "line 1: servers: must be a table, got a list"),
    "a name with a dot": ('[servers."a.b"]\ntarget = "a:1"\n', "a name consists of"),
    "a name of this machine": ('[servers.localhost]\ntarget = "a:1"\n', ", line 1: servers.localhost: a name consists of"),
    "a default that does not exist": ('default = "box"\n' + LAB, r", line 1: default: must be a name in \[servers\] \(lab\), got 'box'"),
    "an issuer without TLS": (LAB + OIDC.replace("https", "http"), "line 6: servers.lab.oidc.issuer: must be an https:// URL"),
    "an issuer with a password": (LAB + OIDC.replace("id.", "a:b@id."), "line 6: servers.lab.oidc.issuer: must be an https"),
    "an issuer with a wrong port": (LAB + OIDC.replace(".org\"\nclient", ".org:x\"\nclient"), "issuer: must be an https"),
    "no client id": (LAB + OIDC.replace("client_id", "#"), "line 5: servers.lab.oidc.client_id: is required"),
    "a token file and a login": (LAB + 'token_file = "x"\n' + OIDC, r"line 4: servers.lab.token_file: excludes \[oidc\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", INVALID)
def test_errors_contain_path_line_and_key(config: Path, case: str) -> None:
    content, message = INVALID[case]
    config.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigInvalid, match=message) as caught:
        read_configuration()
    assert caught.value.message.startswith(str(config))
    with pytest.raises(ConfigInvalid):
        Endpoint()
    assert Endpoint("127.0.0.1:1").target == "127.0.0.1:1", "an address requires no configuration"


def test_the_documented_file_is_valid(config: Path) -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "login.md").read_text()
    config.write_text(document.partition("```toml\n")[2].partition("```")[0])
    lab, box = read_configuration().servers.values()
    assert lab.oidc is not None
    assert (lab.oidc.scope, box.token_file) == (DEFAULT_SCOPE, config.parent / "box.token")
    assert f"`{DEFAULT_SCOPE}`" in document


def test_a_file_that_other_users_can_change(config: Path) -> None:
    private(config, LAB, 0o666)
    with pytest.raises(ConfigInvalid, match="other users can change this file: run `chmod o-w"):
        read_configuration()
    config.chmod(0o664)
    assert list(read_configuration().servers) == ["lab"]


def test_a_folder_for_a_file(config: Path) -> None:
    config.mkdir()
    with pytest.raises(ConfigInvalid, match=r"config.toml: Is a directory"):
        read_configuration()


def test_the_null_device_disables_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QONDUIT_CONFIG", os.devnull)
    assert read_configuration().servers == {}


def test_a_user_without_a_home_has_no_configuration(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("QONDUIT_CONFIG")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)  # the user database of this machine has an entry for its user
    assert Endpoint().target == "127.0.0.1:50051"
    monkeypatch.undo()
    monkeypatch.delenv("QONDUIT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", os.devnull)
    assert Endpoint("lab").target == "lab:50051"
