# SPDX-License-Identifier: Apache-2.0
"""Strategies for messages of any type, derived from its descriptor: valid values, odd ones, and broken bytes.

    messages(descriptor, known)   a message with any of its fields, its values biased towards those that exist
    changed(example, known)       an example of which a few fields were changed
    broken(data)                  bytes of which some were cut, flipped, repeated or made up

This module uses no names of the contract. `Known` lists the objects on the server under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

_T = TypeVar("_T")
_Draw = Callable[[st.SearchStrategy[Any]], Any]

_INT32: Final = (0, 1, 2, 50, 1000, 1001, -1, 2**31 - 1, -(2**31))
_INT64: Final = (*_INT32, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 10**12)
_UINT32: Final = (0, 1, 2, 7, 2**31, 2**32 - 1)
_UINT64: Final = (*_UINT32, 2**63, 2**64 - 1)
_DOUBLES: Final = (0.0, -0.0, 0.5, 1.0, -1.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
#: Texts that often break parsers.
_TEXTS: Final = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\x01\x1f\x7f\r\n\t",
        "\ufeff",
        "\u202e\u2066",
        "\ufffd",
        "\U0010ffff",
        "é" * 500,
        "𝛑" * 300,
    ),
    *(
        "x" * 255,
        "x" * 256,
        "ü" * 1025,
        "z" * 65_536,
        "%s%n%x",
        "'; DROP TABLE jobs; --",
        "../../etc/passwd",
        "{}",
        "null",
    ),
    *('"', "\\", '"unended', "a = ", "AND AND", "🙂" * 127, "-1", "1e999", "0x", "²"),
)
_NUMBERS: Final = (0.5, 1.0, -2.25, 0.1, 3.0, 7.0, *_DOUBLES)
_MOST_DEEP: Final = 5


@dataclass(frozen=True, repr=False)
class Known:
    """Existing values: `fields` by field name; `numbers` and `texts` for all other fields."""

    numbers: Sequence[int] = ()
    texts: Sequence[str] = ()
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    #: Valid messages, by the full name of a method.
    examples: Mapping[str, Sequence[Message]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Short: Hypothesis shows it with each failure."""
        return "known"


@st.composite
def messages(draw: _Draw, descriptor: Descriptor, known: Known) -> Message:
    """A message of a type, with any of its fields."""
    message: Message = message_factory.GetMessageClass(descriptor)()
    _put(draw, message, known, 0)
    return message


@st.composite
def changed(draw: _Draw, example: Message, known: Known) -> Message:
    """A copy of a message with up to three fields, at any depth, changed or cleared."""
    message = type(example)()
    message.CopyFrom(example)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        place = message
        while True:
            chosen = draw(st.sampled_from(list(place.DESCRIPTOR.fields)))
            inner = _message_in(place, chosen)
            if inner is None or not inner.DESCRIPTOR.fields or draw(st.integers(0, 3)) == 0:
                break
            place = inner
        if draw(st.integers(0, 5)) == 0:
            place.ClearField(chosen.name)
        else:
            _fill(draw, place, chosen, known, 1)
    return message


@st.composite
def broken(draw: _Draw, data: bytes) -> bytes:
    """The bytes of a message, damaged."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 7))
        if kind == 0:
            data = data[:at]
        elif kind == 1 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[at:] * 2
        elif kind == 3:
            data = data[:at] + draw(st.binary(max_size=12)) + data[at:]
        elif kind == 4:
            data += draw(_made_up())
        elif kind == 5:
            # An empty group that holds a group that holds a group ...
            deep = draw(st.sampled_from([1, 30, 90, 99, 101, 5_000]))
            data += b"\xfb\x3f" * deep + b"\xfc\x3f" * draw(st.sampled_from([deep, deep - 1]))
        elif kind == 6:
            data = data[:at] + b"\xff" * draw(st.sampled_from([4, 9, 10, 11])) + data[at:]
        else:
            data = draw(st.binary(max_size=64))
    return data


@st.composite
def _made_up(draw: _Draw) -> bytes:
    """A field of any number and wire type, whose length may be wrong."""
    number, wire = draw(st.sampled_from([0, 1, 2, 3, 4, 7, 99, 1023])), draw(st.integers(0, 7))
    head = _varint(number << 3 | wire)
    if wire == 2:
        length = draw(st.sampled_from([0, 1, 3, 200, 2**31 - 1, 2**32, 2**63]))
        return head + _varint(length) + b"\x08\x01" * draw(st.integers(0, 3))
    return head + draw(st.binary(max_size=9))


def _struct(draw: _Draw, struct: Any, known: Known) -> None:
    """Fill a Struct: flat, odd, wide, or as deep as a message may be and deeper."""
    kind = draw(st.integers(0, 5))
    if kind <= 2:
        for _ in range(draw(st.integers(0, 3))):
            value = struct.fields[draw(st.sampled_from(["theta", "a", "", "c", *_TEXTS[:12]]))]
            match draw(st.integers(0, 5)):
                case 0:
                    value.number_value = draw(st.sampled_from(_NUMBERS))
                case 1:
                    value.string_value = draw(_texts(known))
                case 2:
                    value.bool_value = draw(st.booleans())
                case 3:
                    value.null_value = draw(st.sampled_from([0, 1, 77]))
                case 4:
                    value.list_value.values.add().number_value = draw(st.sampled_from(_NUMBERS))
    elif kind <= 4:
        value = struct.fields["deep"]
        lists = draw(st.booleans())
        for _ in range(draw(st.sampled_from([3, 16, 20, 24, 28, 30, 31, 32, 33, 43, 44, 45, 46, 47, 48]))):
            value = value.list_value.values.add() if lists else value.struct_value.fields["x"]
        value.number_value = draw(st.sampled_from(_NUMBERS))
    else:
        for number in range(draw(st.sampled_from([100, 3_000]))):
            struct.fields[f"wide{number}"].number_value = number


def _fill(draw: _Draw, message: Message, each: FieldDescriptor, known: Known, depth: int) -> None:
    """Set a field of a message."""
    inner = each.message_type
    if each.is_repeated:
        many = getattr(message, each.name)
        for _ in range(draw(st.integers(0, 3))):
            if inner is None:
                many.append(draw(_scalar(each, known)))
            elif not inner.GetOptions().map_entry:
                _put(draw, many.add(), known, depth)
            elif (of := inner.fields_by_name["value"]).message_type is None:
                many[draw(_scalar(inner.fields_by_name["key"], known))] = draw(_scalar(of, known))
            else:
                _put(draw, many[draw(_scalar(inner.fields_by_name["key"], known))], known, depth)
    elif inner is None:
        setattr(message, each.name, draw(_scalar(each, known)))
    else:
        getattr(message, each.name).SetInParent()
        _put(draw, getattr(message, each.name), known, depth)


def _put(draw: _Draw, message: Message, known: Known, depth: int) -> None:
    """Fill a message. Three of four fields are set; of a oneof, the last one remains."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Struct":
        _struct(draw, message, known)
    elif depth <= _MOST_DEEP:
        for each in message.DESCRIPTOR.fields:
            if draw(st.integers(0, 3)):
                _fill(draw, message, each, known, depth + 1)


def _scalar(each: FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a scalar field."""
    here = known.fields.get(each.name, ())
    if each.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        texts = _texts(known) if not here else st.one_of(st.sampled_from(list(here)), _texts(known))
        return texts if each.type == FieldDescriptor.TYPE_STRING else texts.map(str.encode)
    if each.enum_type is not None:
        return st.sampled_from([*(value.number for value in each.enum_type.values), -1, 77, 2**31 - 1, -(2**31)])
    match each.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return st.sampled_from(_DOUBLES)
        case FieldDescriptor.CPPTYPE_INT64:
            return _either([*here, *known.numbers], _INT64)
        case FieldDescriptor.CPPTYPE_INT32:
            return _either([number for number in here if abs(number) < 2**31], _INT32)
        case FieldDescriptor.CPPTYPE_UINT64:
            return _either([number for number in known.numbers if number >= 0], _UINT64)
        case _:
            return st.sampled_from(_UINT32)


def _texts(known: Known) -> st.SearchStrategy[str]:
    # Most are known, a few random; protobuf strings contain no surrogates.
    characters = st.characters(exclude_categories=["Cs"])
    return st.one_of(_either(known.texts, _TEXTS), st.text(characters, max_size=12))


def _either(likely: Sequence[_T], odd: Sequence[_T]) -> st.SearchStrategy[_T]:
    if not likely:
        return st.sampled_from(odd)
    return st.one_of(st.sampled_from(likely), st.sampled_from(likely), st.sampled_from(odd))


def _message_in(message: Message, each: FieldDescriptor) -> Message | None:
    """Return the message in a field, or the last one of a list; None if it is empty."""
    if each.message_type is None or each.message_type.GetOptions().map_entry:
        return None
    value = getattr(message, each.name)
    if each.is_repeated:
        return value[-1] if len(value) else None  # type: ignore[no-any-return]
    return value if message.HasField(each.name) else None  # type: ignore[no-any-return]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
