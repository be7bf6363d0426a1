# SPDX-License-Identifier: Apache-2.0
"""Remove a secret from what a process reports, in the forms in which SDKs repeat it in their messages."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

#: Replaces the secret.
MARK: Final = "[credential]"
#: Shorter parts of a secret are not replaced: they would occur by chance.
_LEAST_PART: Final = 8
#: Fields of a credential in JSON that name an account or a place. They are no secrets, and vendors' ids contain them.
NAMING_FIELDS: Final = frozenset({"type", "project_id", "client_email", "region", "bucket", "instance"})


class Redaction:
    """Replaces a secret, and its parts if it is JSON or has several lines, except for its `NAMING_FIELDS`.

    It also finds the escaped, percent-encoded, hexadecimal and base64 forms; the latter at any offset, as in a header
    "Authorization: Basic".

    Args:
        secret: the secret; empty: nothing is replaced.
    """

    def __init__(self, secret: str) -> None:
        forms = {form for part in _parts(secret) for form in _forms(part) if len(form) >= _LEAST_PART}
        # The longest first, because forms contain each other.
        ordered = sorted(forms, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        encoded = [form.encode() for form in ordered]
        self._bytes = re.compile(b"|".join(map(re.escape, encoded))) if encoded else None

    def __bool__(self) -> bool:
        """Return whether there is a secret."""
        return self._text is not None

    def text(self, text: str) -> str:
        """Return a text without the secret."""
        return self._text.sub(MARK, text) if self._text is not None else text

    def data(self, data: bytes) -> bytes:
        """Return bytes without the secret, in the same number."""
        return self._bytes.sub(lambda found: b"*" * len(found[0]), data) if self._bytes is not None else data

    def message(self, message: Message) -> None:
        """Remove the secret from all fields of a message."""
        if self._text is None:
            return
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                self._messages(message, field, value)
            elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
                if field.is_repeated:
                    value[:] = [self._scalar(each) for each in value]
                else:
                    setattr(message, field.name, self._scalar(value))

    def _messages(self, message: Message, field: FieldDescriptor, value: Any) -> None:
        kind = field.message_type
        if not field.is_repeated:
            self.message(value)
        elif kind is not None and kind.GetOptions().map_entry:
            self._map(value, kind.fields_by_name["value"])
        else:
            for each in value:
                self.message(each)

    def _map(self, entries: Any, kind: FieldDescriptor) -> None:
        for key in list(entries):
            new = self._scalar(key)
            if kind.type == FieldDescriptor.TYPE_MESSAGE:
                self.message(entries[key])
                if new != key:
                    entries[new].CopyFrom(entries[key])
            elif (changed := self._scalar(entries[key])) != entries[key] or new != key:
                entries[new] = changed
            if new != key:
                del entries[key]

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        return self.data(value) if isinstance(value, bytes) else value


def _parts(secret: str) -> Iterator[str]:
    """Yield the secret, its lines, and the secret texts in it if it is JSON."""
    yield secret
    yield from (line.strip() for line in secret.splitlines())
    try:
        waiting = [json.loads(secret)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
            yield from (line.strip() for line in value.splitlines())
        elif isinstance(value, dict):
            waiting += (each for name, each in value.items() if name not in NAMING_FIELDS)
        elif isinstance(value, list):
            waiting += value


def _forms(part: str) -> Iterator[str]:
    """Yield the forms of a part of a secret; none for one that is too short."""
    if len(part) < _LEAST_PART:
        return
    data = part.encode()
    yield part
    yield json.dumps(part)[1:-1]
    yield repr(part)[1:-1]
    yield from (urllib.parse.quote(part, safe=""), urllib.parse.quote(part), urllib.parse.quote_plus(part))
    yield data.hex()
    yield data.hex().upper()
    for offset in range(3):
        # The characters that depend on the part alone, wherever it begins in the encoded text.
        encoded = base64.b64encode(b"\0" * offset + data).decode()
        start = -(-offset * 8 // 6)
        inner = encoded[start : (offset + len(data)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
