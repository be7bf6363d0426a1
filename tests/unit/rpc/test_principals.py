# SPDX-License-Identifier: Apache-2.0
"""Each call has a principal: a name that owns what it creates, and roles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from qonduit.v1.job_service_pb2 import GetJobRequest, GetJobResponse
from qonduit_server.errors import NotFound
from qonduit_server.observer import UNOBSERVED
from qonduit_server.rpc import interceptor
from qonduit_server.rpc.audited_calls import AuditedCalls
from qonduit_server.rpc.auth.authorization import Access
from qonduit_server.rpc.auth.principal import ANONYMOUS, UNAUTHENTICATED, Metadata, Principal, ReadPeer, Role, anonymous
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.caller_limits import CallerLimits
from qonduit_server.rpc.interceptor import HandlerContext, StreamLimiter
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.stream_authorization import StreamAuthorization
from qonduit_server.rpc.unread_responses import UnreadResponses
from qonduit_server.store.memberships import Memberships
from qonduit_server.store.quota_registry import EVERYTHING

METHOD = "/test.Service/Get"
WAIT = 60.0


def test_the_anonymous_principal_has_every_role() -> None:
    assert anonymous([("authorization", "ignored")], dict) is ANONYMOUS
    assert Principal("anonymous", frozenset((Role.USER, Role.OPERATOR, Role.ADMIN))) == ANONYMOUS
    assert UNAUTHENTICATED.roles == frozenset()


def test_a_principal_is_a_user_unless_it_has_other_roles_and_does_not_change() -> None:
    anna = Principal("anna")
    assert anna.roles == {Role.USER}
    assert anna != Principal("anna", frozenset((Role.ADMIN,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        anna.name = "ben"  # type: ignore[misc]


def authenticate(metadata: Metadata, _peer: ReadPeer) -> Principal:
    given = dict(metadata)
    if "name" not in given:
        raise NotFound("principal", "")
    return Principal(str(given["name"]), frozenset(Role(role) for role in str(given["roles"]).split()))


@pytest.fixture
def calls() -> list[CallContext]:
    """Return the list of contexts of calls that reached the handler."""
    return []


@pytest.fixture
def channel(calls: list[CallContext]) -> Iterator[grpc.Channel]:
    """Yield a channel to a server whose only handler records the context of each call."""

    def handler(request: GetJobRequest, call: CallContext) -> GetJobResponse:
        calls.append(call)
        return GetJobResponse()

    with ThreadPoolExecutor(2) as threads:
        audit = AuditedCalls(None)  # type: ignore[arg-type]  # in the mode "off" it uses no database
        callers = CallerLimits(lambda _: EVERYTHING)
        authorization = StreamAuthorization()
        context = HandlerContext(
            *(authenticate, Memberships, Limits(), threads, StreamLimiter(1), callers),
            *(UnreadResponses(WAIT), audit, authorization, UNOBSERVED),
        )
        methods = {"Get": interceptor.unary(context, METHOD, GetJobRequest, handler, Access.READ)}
        server = grpc.server(threads, handlers=[grpc.method_handlers_generic_handler("test.Service", methods)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
            yield opened
        server.stop(0).wait(WAIT)
        authorization.stop()


def test_a_handler_gets_the_principal_with_its_roles(channel: grpc.Channel, calls: list[CallContext]) -> None:
    get = channel.unary_unary(METHOD)
    request = GetJobRequest(id=1).SerializeToString()
    get(request, metadata=[("name", "anna"), ("roles", "user operator")], timeout=WAIT)
    assert [call.principal for call in calls] == [Principal("anna", frozenset((Role.USER, Role.OPERATOR)))]


def test_a_call_without_a_principal_does_not_reach_its_handler(channel: grpc.Channel, calls: list[CallContext]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(METHOD)(b"", timeout=WAIT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert calls == []
