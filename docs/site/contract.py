# SPDX-License-Identifier: Apache-2.0
"""The reference of the contract: a page for each proto file of qonduit.v1, from its definitions and comments."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from qonduit._vendor import validate_pb2

PROTOS: Final = Path(__file__).resolve().parents[2] / "protos"
_PACKAGE: Final = "qonduit.v1"
_GOOGLE: Final = "https://protobuf.dev/reference/protobuf/google.protobuf/#"
#: The pages in reading order; the files that are not listed follow in alphabetical order.
_ORDER: Final = (
    *("job_service", "result_service", "deployment_service", "program_service"),
    *("device_service", "provider_service", "system_service"),
    *("job", "event", "result", "failure", "deployment", "provider", "device", "error_reason"),
)
#: Field numbers of descriptor.proto, of which the paths of comments consist.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _VALUE, _METHOD = 2, 3, 2, 2


def pages() -> dict[str, str]:
    """Return the pages as Markdown in reading order, by file name ("job.md"); "index.md" lists every RPC."""
    files = sorted((file for file in _described().file if file.package == _PACKAGE), key=_position)
    homes = {
        f".{file.package}.{each.name}": _page_name(file)
        for file in files
        for each in [*file.message_type, *file.enum_type]
    }
    found = {_page_name(file): _Page(file, homes).text() for file in files}
    return {"index.md": _index(files), **found}


def is_service(name: str) -> bool:
    """Return whether a page describes a service."""
    return name.endswith("_service.md")


def _position(file: FileDescriptorProto) -> tuple[int, str]:
    name = Path(file.name).stem
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _described() -> FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "contract.binpb")
        sources = sorted(str(path) for path in PROTOS.glob("qonduit/v1/*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{PROTOS / 'third_party'}"]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={written}"]
        subprocess.run([*command, *options, *sources], check=True)
        return FileDescriptorSet.FromString(written.read_bytes())


def _page_name(file: FileDescriptorProto) -> str:
    return Path(file.name).stem + ".md"


def _index(files: list[FileDescriptorProto]) -> str:
    lines = [
        "# Contract",
        "",
        "The contract is the protobuf package `qonduit.v1`. Clients call its services over gRPC. These pages are",
        "generated from the comments of the proto files.",
        "",
    ]
    for file in files:
        comments = _comments(file)
        for place, service in enumerate(file.service):
            lines += [
                f"## {service.name}",
                "",
                comments.get((_SERVICE, place), ""),
                "",
                "| RPC | description |",
                "|---|---|",
            ]
            for index, method in enumerate(service.method):
                comment = comments.get((_SERVICE, place, _METHOD, index), "")
                lines.append(f"| [{method.name}]({_page_name(file)}#{method.name}) | {_first(comment)} |")
            lines.append("")
    return "\n".join(lines) + "\n"


class _Page:
    """One proto file, as Markdown."""

    def __init__(self, file: FileDescriptorProto, homes: dict[str, str]) -> None:
        self._file = file
        self._homes = homes
        self._comments = _comments(file)

    def text(self) -> str:
        title = self._file.service[0].name if self._file.service else Path(self._file.name).name
        return "\n".join([f"# {title}", "", f"`{self._file.name}`", "", *self._body()]) + "\n"

    def _body(self) -> Iterator[str]:
        for place, service in enumerate(self._file.service):
            yield from self._service(service, (_SERVICE, place))
        for place, message in enumerate(self._file.message_type):
            yield from self._message(message, message.name, (_MESSAGE, place))
        for place, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (_ENUM, place))

    def _comment(self, path: tuple[int, ...]) -> str:
        return self._comments.get(path, "")

    def _service(self, service: ServiceDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield from (self._comment(path), "")
        for place, method in enumerate(service.method):
            answer = ("stream of " if method.server_streaming else "") + self._type_named(method.output_type)
            yield f"## {method.name} {{ #{method.name} }}\n"
            yield f"{self._type_named(method.input_type)} → {answer}\n"
            yield self._comment((*path, _METHOD, place)) + "\n"

    def _message(self, message: DescriptorProto, name: str, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {name} {{ #{name} }}\n"
        yield self._comment(path) + "\n"
        for rule in message.options.Extensions[validate_pb2.message].cel:
            yield f"- {rule.message}"
        yield ""
        if message.field:
            yield "| field | type | description |"
            yield "|---|---|---|"
        for place, field in enumerate(message.field):
            comment = " ".join(filter(None, (self._comment((*path, _FIELD, place)), _behavior(field), _rules(field))))
            yield f"| `{field.name}` = {field.number} | {self._type(field, message)} | {_cell(comment)} |"
        yield ""

    def _enum(self, enum: EnumDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {enum.name} {{ #{enum.name} }}\n"
        yield self._comment(path) + "\n"
        yield "| value | description |"
        yield "|---|---|"
        for place, value in enumerate(enum.value):
            yield f"| `{value.name}` = {value.number} | {_cell(self._comment((*path, _VALUE, place)))} |"
        yield ""

    def _type(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        entry = next(
            (each for each in message.nested_type if field.type_name.endswith(f".{message.name}.{each.name}")), None
        )
        if entry is not None and entry.options.map_entry:
            key, value = (self._type(each, entry) for each in entry.field)
            return f"map of {key} to {value}"
        named = field.type_name
        kind = (
            self._type_named(named)
            if named
            else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        )
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return f"repeated {kind}"
        if field.proto3_optional:
            return f"optional {kind}"
        return (
            f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else kind
        )

    def _type_named(self, full_name: str) -> str:
        name = full_name.rpartition(".")[2]
        if full_name in self._homes:
            return f"[{name}]({self._homes[full_name]}#{name})"
        if full_name.startswith(".google.protobuf."):
            return f"[{name}]({_GOOGLE}{name.lower()})"
        return f"`{full_name.removeprefix('.')}`"


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return the comment above each definition, by its path (see SourceCodeInfo in descriptor.proto)."""
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


def _behavior(field: FieldDescriptorProto) -> str:
    """Return the field's behaviour (AIP-203) that its comment does not name: "*Required.*"."""
    behaviors = field.options.Extensions[field_behavior_pb2.field_behavior]
    return "*Required.*" if field_behavior_pb2.REQUIRED in behaviors else ""


def _rules(field: FieldDescriptorProto) -> str:
    """Return the validation rules of a field, as its annotations name them: "max_bytes 255"."""
    found = [f"{name} {value}" for name, value in _leaves(field.options.Extensions[validate_pb2.field])]
    return f"*Rules: {', '.join(found)}.*" if found else ""


def _leaves(rules: Message) -> Iterator[tuple[str, str]]:
    for field, value in rules.ListFields():
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
            yield field.name, f"{value.ToTimedelta().total_seconds():g} s"
        elif isinstance(value, Message):
            yield from _leaves(value)
        elif field.enum_type is not None:
            yield field.name, field.enum_type.values_by_number[value].name.lower()
        elif isinstance(value, str):
            yield field.name, f"`{value}`"
        else:
            yield field.name, str(value).lower()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _first(text: str) -> str:
    return _cell(text.partition(". ")[0].rstrip("."))
