# SPDX-License-Identifier: Apache-2.0
"""Strategies for calls, sound and odd: which method, which bytes, how many of them, metadata, compression, deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import strategies as st

from tests.fuzz.messages import Known, broken, changed, messages

#: Seconds that a call may take on a busy machine.
PATIENCE: Final = 60.0
#: A deadline so short that a call may exceed it, in seconds.
SHORT: Final = (0.0, 1e-9, 0.0005, 0.005)


@dataclass(frozen=True)
class Sent:
    """A call to send. `requests` are its messages; an ordinary call has one."""

    method: str
    requests: tuple[bytes, ...]
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout: float = PATIENCE
    compression: grpc.Compression = grpc.Compression.NoCompression

    def __repr__(self) -> str:
        """Return the code that sends the call again."""
        shown = [
            data.hex() if len(data) < 2000 else f"{data[:1000].hex()}... ({len(data)} bytes)" for data in self.requests
        ]
        return f"{self.method} {shown} metadata={self.metadata} timeout={self.timeout} {self.compression}"


def methods(channel: grpc.Channel) -> list[MethodDescriptor]:
    """Return every method that a server lists by reflection, the reflection method included."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    return [method for service in sorted(database.get_services()) for method in pool.FindServiceByName(service).methods]


def path(method: MethodDescriptor) -> str:
    """Return the full RPC path of a method."""
    return f"/{method.containing_service.full_name}/{method.name}"


_KEYS: Final = (
    "x-request-id",
    "x-request-id",
    "authorization",
    "user",
    "content-length",
    "te",
    "x-a_b.c",
    "traceparent",
)
_ASCII: Final = (
    *("", " ", "r1", "a" * 64, "a" * 65, "x" * 2000, "a,b", "!~ {}", '"', "\\n", "Bearer x", "-1", "../.."),
)


@st.composite
def _metadata(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[tuple[str, str | bytes], ...]:
    found: list[tuple[str, str | bytes]] = []
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 5]))):
        if draw(st.integers(0, 3)) == 0:
            key = draw(st.sampled_from(["x-request-id-bin", "grpc-status-details-bin", "any-bin", "grpc-tags-bin"]))
            found.append((key, draw(st.sampled_from([b"", b"\0\xff\n", b"x" * 1500]))))
        else:
            found.append((draw(st.sampled_from(_KEYS)), draw(st.sampled_from(_ASCII))))
    return tuple(found)


@st.composite
def calls(draw: Callable[[st.SearchStrategy[Any]], Any], method: MethodDescriptor, known: Known) -> Sent:
    """Generate any call of a method; four of five are sent the ordinary way."""
    name = path(method)
    examples = known.examples.get(name, ())
    if examples and draw(st.integers(0, 3)):
        message = draw(changed(draw(st.sampled_from(list(examples))), known))
    else:
        message = draw(messages(method.input_type, known))
    data = message.SerializeToString()
    if draw(st.integers(0, 4)) == 0:
        data = draw(broken(data))
    if draw(st.integers(0, 4)):
        return Sent(name, (data,))
    many = draw(st.sampled_from([1, 1, 1, 1, 1, 0, 2]))
    return Sent(
        name,
        (data,) * many,
        draw(_metadata()),
        draw(st.sampled_from([*[PATIENCE] * 8, *SHORT])),
        draw(st.sampled_from([grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip])),
    )
