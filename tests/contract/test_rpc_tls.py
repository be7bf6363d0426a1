# SPDX-License-Identifier: Apache-2.0
"""TLS: certificates are reloaded without a restart, client certificates name principals, Unix sockets are private."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_server import authentication
from qonduit_server.errors import StartError, Unauthenticated
from qonduit_server.rpc import server as rpc_server
from qonduit_server.rpc.auth.certificates import CertificateRoles, Certificates
from qonduit_server.rpc.auth.exposure import check_exposure
from qonduit_server.rpc.auth.principal import Principal, Role
from qonduit_server.settings import Settings
from qonduit_server.store.database import open_database
from tests.certificate_authority import CertificateAuthority, Pair
from tests.contract.rpc_fixture import BELL, WAIT, programs


@contextmanager
def serving(folder: Path, settings: Settings) -> Iterator[str]:
    """Serve a store with the settings of TLS and authentication; yield the target."""
    authenticate = authentication.authenticator(settings)
    options = {"authenticate": authenticate} if authenticate else {}
    certificates = authentication.certificates(settings)
    credentials = certificates.credentials() if certificates else None
    db = open_database(f"sqlite:///{folder / 'q.sqlite3'}")
    try:
        server = rpc_server.serve(
            db,
            rpc_server.RpcOptions(listen=settings.listen, credentials=credentials, **options),
        )
        try:
            yield server.target
        finally:
            server.stop(2)
    finally:
        db.close()


@contextmanager
def connected(target: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
    """Open a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.insecure_channel(target, options)
    else:
        channel = grpc.secure_channel(target, credentials, options)
    with channel:
        yield channel


def reached(target: str, credentials: grpc.ChannelCredentials | None = None) -> str:
    """Return the status of a call over a new connection."""
    with connected(target, credentials) as channel:
        try:
            SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=WAIT)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


def tls(pair: Pair, **more: object) -> Settings:
    return Settings(listen="127.0.0.1:0", tls_certificate=str(pair.certificate), tls_key=str(pair.key), **more)  # type: ignore[arg-type]


def test_a_renewed_certificate_is_used_without_a_restart(authority: CertificateAuthority, tmp_path: Path) -> None:
    other = CertificateAuthority(tmp_path, "other")
    pair = authority.issue("server")
    with serving(tmp_path, tls(pair)) as target:
        assert reached(target, authority.trusted()) == "OK"
        assert reached(target, other.trusted()) == "UNAVAILABLE"
        with connected(target, authority.trusted()) as kept:
            SystemServiceStub(kept).GetServerInfo(GetServerInfoRequest(), timeout=WAIT)
            pair.replace(other.issue("renewed"))
            assert reached(target, other.trusted()) == "OK"
            assert reached(target, authority.trusted()) == "UNAVAILABLE"
            # Open connections continue.
            SystemServiceStub(kept).GetServerInfo(GetServerInfoRequest(), timeout=WAIT)


def test_an_incomplete_renewal_leaves_the_old_certificate_in_use(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    pair = authority.issue("server")
    renewed = CertificateAuthority(tmp_path, "other")
    new = renewed.issue("renewed")
    with serving(tmp_path, tls(pair)) as target:
        pair.certificate.write_bytes(new.certificate.read_bytes())  # its key is still missing
        assert reached(target, authority.trusted()) == "OK"
        pair.key.unlink()
        assert reached(target, authority.trusted()) == "OK"
        pair.key.write_bytes(new.key.read_bytes())
        assert reached(target, renewed.trusted()) == "OK"


def test_plain_text_does_not_reach_a_server_with_tls(authority: CertificateAuthority, tmp_path: Path) -> None:
    with serving(tmp_path, tls(authority.issue("server"))) as target:
        assert reached(target) == "UNAVAILABLE"


def test_files_that_cannot_be_used_are_refused_at_start(authority: CertificateAuthority, tmp_path: Path) -> None:
    pair = authority.issue("server")
    other = authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(StartError, match=r"cannot use .*server\.pem and .*other\.key for TLS: .* mismatch"):
        Certificates(str(pair.certificate), str(other.key))
    with pytest.raises(StartError, match=r"cannot use .*text\.pem .*in PEM"):
        Certificates(str(text), str(pair.key))
    with pytest.raises(StartError, match=r"cannot read .*away\.key: No such file"):
        Certificates(str(pair.certificate), str(tmp_path / "away.key"))
    with pytest.raises(StartError, match=r"text\.pem must contain CA certificates in PEM \(tls_client_ca\)"):
        Certificates(str(pair.certificate), str(pair.key), str(text))


def test_a_client_needs_a_certificate_of_the_client_ca(authority: CertificateAuthority, tmp_path: Path) -> None:
    clients = CertificateAuthority(tmp_path, "clients")
    with serving(tmp_path, tls(authority.issue("server"), tls_client_ca=str(clients.file))) as target:
        assert reached(target, authority.trusted()) == "UNAVAILABLE"
        assert reached(target, authority.trusted(authority.issue("stranger"))) == "UNAVAILABLE"
        assert reached(target, authority.trusted(clients.issue("anna"))) == "OK"


def test_a_client_certificate_names_the_owner_of_what_it_creates(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    anna = authority.issue("anna", "anna", dns="")
    ben = authority.issue("ben", "ben", dns="ben.example.org")
    service = authority.issue("service", "anna", uri="spiffe://example.org/ci")
    settings = tls(authority.issue("server"), tls_client_ca=str(authority.file))
    with serving(tmp_path, settings) as target:
        owners = []
        for client in (anna, ben, service):
            with connected(target, authority.trusted(client)) as channel:
                created = DeploymentServiceStub(channel).CreateDeployment(
                    CreateDeploymentRequest(deployment=programs(BELL)), timeout=WAIT
                )
                owners.append(created.deployment.deployed_by)
    assert owners == ["anna", "ben.example.org", "spiffe://example.org/ci"]


def test_roles_belong_to_the_names_of_certificates() -> None:
    roles = CertificateRoles({"anna": Role.ADMIN, "spiffe://x/op": Role.OPERATOR})
    assert roles.principal({"x509_common_name": [b"anna"]}) == Principal("anna", frozenset(Role))
    operator = {"x509_common_name": [b"anna"], "peer_spiffe_id": [b"spiffe://x/op"]}
    assert roles.principal(operator) == Principal("spiffe://x/op", frozenset((Role.USER, Role.OPERATOR)))
    assert roles.principal({"x509_common_name": [b"ben"]}) == Principal("ben")
    for nameless in ({}, {"x509_common_name": [b""]}, {"x509_common_name": [b"two words"]}):
        with pytest.raises(Unauthenticated, match="contains no usable name"):
            roles.principal(nameless)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1", "[::ffff:192.0.2.1]:1"])
def test_an_address_that_other_machines_reach_needs_tls_and_authentication(listen: str) -> None:
    check_exposure(listen, tls=True, authentication=True, allow_insecure=False)
    check_exposure(listen, tls=False, authentication=False, allow_insecure=True)
    for tls_on, authentication_on, missing in ((True, False, "token_file"), (False, True, "tls_certificate")):
        with pytest.raises(StartError, match=rf"without .*{missing}.*allow_insecure_remote_access=on"):
            check_exposure(listen, tls=tls_on, authentication=authentication_on, allow_insecure=False)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/run/q.sock"])
def test_an_address_of_this_machine_needs_neither(listen: str) -> None:
    check_exposure(listen, tls=False, authentication=False, allow_insecure=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(tls_key="k.pem"), "belong together"),
        (Settings(tls_certificate="c.pem"), "belong together"),
        (Settings(tls_client_ca="ca.pem"), "tls_client_ca requires TLS"),
        (Settings(tls_client_roles={"anna": "admin"}), "tls_client_roles requires client certificates"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: Settings, message: str) -> None:
    with pytest.raises(StartError, match=message):
        authentication.check(settings)


def test_an_unknown_role_of_a_certificate_is_refused() -> None:
    settings = Settings(tls_client_ca="ca.pem", tls_client_roles={"anna": "root"})
    with pytest.raises(StartError, match="tls_client_roles: roles are user, operator, admin, got root"):
        authentication.authenticator(settings)


def test_a_unix_socket_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    umask = os.umask(0o000)  # the most open one
    try:
        with serving(tmp_path, Settings(listen=f"unix:{path}")) as target:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert target == f"unix:{path}"
            assert reached(target) == "OK"
            with (
                pytest.raises(StartError, match="another server listens there"),
                serving(tmp_path, Settings(listen=target)),
            ):
                pass
            assert reached(target) == "OK"
        assert not path.exists()
        assert os.umask(0o000) == 0o000
    finally:
        os.umask(umask)


def test_the_socket_of_a_dead_server_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(tmp_path, Settings(listen=f"unix:{path}")) as target:
        assert reached(target) == "OK"
    path.write_text("precious")
    with pytest.raises(StartError, match="is not a socket"), serving(tmp_path, Settings(listen=f"unix:{path}")):
        pass
    assert path.read_text() == "precious"
    with (
        pytest.raises(StartError, match="107 bytes"),
        serving(tmp_path, Settings(listen=f"unix:{tmp_path}/{'x' * 120}")),
    ):
        pass
