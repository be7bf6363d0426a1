# SPDX-License-Identifier: Apache-2.0
"""Every call carries the token, over TLS only; untrusted certificates and bad tokens fail at once."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit.v1.result_pb2 import ColumnKind, Result
from qonduit_client.addresses import is_local
from qonduit_client.endpoint import Endpoint, tls_of
from qonduit_client.errors import ServerUnavailable
from tests.both_clients import Connect
from tests.unit.client.peer import BELL, JOB, Peer, Stream, serving_peer

FAR = "qonduit.example:443"


def certificate(folder: Path, name: str, names: str) -> Path:
    """Create a self-signed certificate, with its `.key` beside it."""
    file = folder / f"{name}.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} "
        f"-addext subjectAltName={names} -keyout {file.with_suffix('.key')} -out {file}".split(),
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Create two certificates for this machine and one for another name."""
    folder = tmp_path_factory.mktemp("certificates")
    here = "DNS:localhost,IP:127.0.0.1"
    names = {"ours": here, "another": here, "elsewhere": "DNS:qonduit.example"}
    return {name: certificate(folder, name, each) for name, each in names.items()}


def secured(file: Path) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(file.with_suffix(".key").read_bytes(), file.read_bytes())])


@pytest.fixture
def peer(certificates: dict[str, Path]) -> Iterator[Peer]:
    """Serve a peer with TLS."""
    with serving_peer(secured(certificates["ours"])) as running:
        yield running


def large() -> Result:
    message = Result(id=11, job_id=JOB, program_id=5, shots=3)
    message.counts_and_probabilities.SetInParent()
    message.registers.add(name="c", size=8)
    message.buffer.name, message.buffer.size_bytes, message.buffer.rows = "b", 9, 1
    message.buffer.columns.add(name="c", kind=ColumnKind.COLUMN_KIND_UINT, width=1)
    message.buffer.columns.add(name="count", kind=ColumnKind.COLUMN_KIND_UINT, width=8)
    return message


@pytest.mark.parametrize("callable_token", [False, True])
def test_every_kind_of_call_carries_the_token(
    peer: Peer, certificates: dict[str, Path], connect: Connect, callable_token: bool
) -> None:
    message = large()
    peer.pieces = [b"\x01\x00\x00\x00", b"\x00\x00\x00\x00\x03"]
    message.buffer.sha256 = hashlib.sha256(b"".join(peer.pieces)).hexdigest()
    peer.results = [message]
    peer.streams.append(Stream(send=2))
    fresh = iter(range(1000))
    token = (lambda: f"token-{next(fresh)}") if callable_token else "token-of-me\n"
    with connect(peer.target, token=token, tls=certificates["ours"]) as client:
        assert client.run(BELL).result(100).counts == {"0x1": 3}
        assert [job.id for job in client.jobs()] == [JOB]
    methods = {method.rpartition("/")[2] for method, _ in peer.called}
    assert {"CreateJob", "WatchJob", "GetJob", "ListResults", "ReadBuffer", "ListJobs"} <= methods
    sent = [authorization for _, authorization in peer.called]
    if callable_token:
        assert sent == [f"Bearer token-{number}" for number in range(len(sent))]
    else:
        assert set(sent) == {"Bearer token-of-me"}


def test_without_a_token_none_is_sent(certificates: dict[str, Path], connect: Connect, peer: Peer) -> None:
    with connect(peer.target, tls=str(certificates["ours"])) as client:
        assert client.job(JOB).state() == "SUCCEEDED"
    with connect(
        peer.target, tls=grpc.ssl_channel_credentials(certificates["ours"].read_bytes()), timeout=20
    ) as client:
        assert client.job(JOB).job().state == JobState.JOB_STATE_SUCCEEDED
    assert {authorization for _, authorization in peer.called} == {None}


@pytest.mark.parametrize(
    ("server", "roots", "said"),
    [
        ("ours", "another", "is not trusted: its certificate is not signed by a trusted CA"),
        ("ours", None, "is not trusted: its certificate is not signed by a trusted CA"),
        ("elsewhere", "elsewhere", "is not trusted: its certificate is for another name"),
        (None, "ours", "is not trusted: it does not use TLS"),
    ],
)
def test_calls_to_untrusted_servers_fail_at_once(
    certificates: dict[str, Path], connect: Connect, server: str | None, roots: str | None, said: str
) -> None:
    credentials = secured(certificates[server]) if server else None
    with serving_peer(credentials) as peer, connect(peer.target, tls=certificates[roots] if roots else True) as client:
        begun = time.monotonic()
        for ask in (lambda: client.job(JOB).job(), lambda: list(client.job(JOB).events())):
            with pytest.raises(ServerUnavailable, match=said) as caught:
                ask()
            assert caught.value.reason == "UNTRUSTED"
        assert time.monotonic() - begun < 3, "it is not retried"
        assert peer.called == []


def test_plain_text_to_a_server_with_tls(peer: Peer, connect: Connect) -> None:
    with connect(peer.target, connect_timeout=0.2) as client, pytest.raises(ServerUnavailable, match="use tls=True"):
        client.job(JOB).job()


def test_no_token_is_sent_without_tls_over_a_network(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"plain text.*tls=True"):
        connect(FAR, token="secret")
    monkeypatch.setenv("QONDUIT_TOKEN", "secret")
    with pytest.raises(ValueError, match="plain text") as caught:
        Endpoint(FAR)
    assert "secret" not in str(caught.value)
    Endpoint(FAR, tls=False)
    Endpoint(FAR, tls=True)
    Endpoint(FAR, tls=grpc.ssl_channel_credentials())
    Endpoint("127.0.0.1")
    monkeypatch.setenv("QONDUIT_TLS", "0")
    Endpoint(FAR)
    monkeypatch.setenv("QONDUIT_TLS", "1")
    assert Endpoint(FAR).credentials is not None
    assert Endpoint(FAR).metadata() == (("authorization", "Bearer secret"),)
    assert Endpoint(FAR, token="other").metadata() == (("authorization", "Bearer other"),)


def test_environment_variables(monkeypatch: pytest.MonkeyPatch, certificates: dict[str, Path]) -> None:
    assert [tls_of(text) for text in ("", "0", "off", "1", "Yes")] == [None, False, False, True, True]
    assert tls_of("/etc/roots.pem") == Path("/etc/roots.pem")
    monkeypatch.setenv("QONDUIT_TLS", str(certificates["ours"]))
    assert Endpoint(FAR).credentials is not None
    assert Endpoint(FAR, tls=False).credentials is None
    monkeypatch.setenv("QONDUIT_TLS", "/no/such/roots.pem")
    with pytest.raises(FileNotFoundError):
        Endpoint(FAR)


def test_invalid_roots_and_tokens(certificates: dict[str, Path], connect: Connect, peer: Peer) -> None:
    with pytest.raises(ValueError, match="no PEM certificate"):
        Endpoint(FAR, tls=certificates["ours"].with_suffix(".key"))
    for token in ("", "two words", "line\nbreak", "Schlüssel"):
        with pytest.raises(ValueError, match="token must"):
            Endpoint("localhost", token=token)
    with (
        connect(peer.target, tls=certificates["ours"], token=lambda: "") as client,
        pytest.raises(ValueError, match="token must"),
    ):
        client.job(JOB).job()


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.0.1:1", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/qonduit.sock", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv4:127.0.0.1:50051,127.0.0.2:50052", True),
        ("ipv4:127.0.0.1:50051,10.0.0.1:50051", False),
        ("10.0.0.1:50051", False),
        ("localhost.example:50051", False),
        ("dns:///qonduit.example:443", False),
    ],
)
def test_local_targets(target: str, local: bool) -> None:
    assert is_local(target) == local
