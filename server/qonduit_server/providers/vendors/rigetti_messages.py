# SPDX-License-Identifier: Apache-2.0
"""Classes of protobuf messages from tables, for the few messages of Rigetti's published protocol that are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "int32": _FIELD.TYPE_INT32,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}


def message_classes(name: str, messages: Mapping[str, Mapping[str, tuple[int, str]]]) -> dict[str, Any]:
    """Return the class of each message.

    Args:
        name: of the tables, unlike those of others.
        messages: by the full name of each message, its fields: number and type, for example `repeated string`. A type
            that is no scalar is the full name of another message.
    """
    pool = descriptor_pool.DescriptorPool()
    found: dict[str, Any] = {}
    for package in sorted({each.rpartition(".")[0] for each in messages}):
        own = {full: fields for full, fields in messages.items() if full.rpartition(".")[0] == package}
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}/{name}", package=package, syntax="proto3")
        file.dependency.extend(f"{each}/{name}" for each in found if each < package)
        for full, fields in own.items():
            message = file.message_type.add(name=full.rpartition(".")[2])
            for field, (number, kind) in fields.items():
                kind, label = kind.removeprefix("repeated "), kind.startswith("repeated ")
                added = message.field.add(name=field, number=number)
                added.label = _FIELD.LABEL_REPEATED if label else _FIELD.LABEL_OPTIONAL
                added.type = _SCALARS.get(kind, _FIELD.TYPE_MESSAGE)
                if kind not in _SCALARS:
                    added.type_name = f".{kind}"
        pool.Add(file)
        found[package] = own
    return {
        full: message_factory.GetMessageClass(pool.FindMessageTypeByName(full))
        for own in found.values()
        for full in own
    }
