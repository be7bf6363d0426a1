# SPDX-License-Identifier: Apache-2.0
"""Limits of columns, checked before a write so that the caller gets a clear error instead of the database's."""

from __future__ import annotations

from typing import Final

from qonduit_server.errors import InvalidArgument

MAX_ID: Final = 2**63 - 1
#: Indexed text must be well below a third of a database page.
_MAX_TEXT_BYTES: Final = 1024


def is_id(number: int) -> bool:
    """Return whether a number is in the range of ids."""
    return 0 < number <= MAX_ID


def checked_text(field: str, value: str) -> str:
    """Return `value` if a text column can hold it.

    Raises:
        InvalidArgument: it contains NUL or lone surrogates, or has more than 1024 bytes.
    """
    if "\0" in value:
        raise InvalidArgument.of(field, "text.nul", f"{field}: must not contain the character NUL")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument.of(field, "text.unicode", f"{field}: must be valid Unicode") from error
    if size > _MAX_TEXT_BYTES:
        raise InvalidArgument.of(
            field, "text.max_bytes", f"{field}: must have at most {_MAX_TEXT_BYTES} bytes, got {size}"
        )
    return value
