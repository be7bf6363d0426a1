# SPDX-License-Identifier: Apache-2.0
"""Who is calling: the one place that turns a call's metadata into the caller's name, which owns what the call makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

#: Key and value pairs, as grpcio gives them; keys are lower case, values of "-bin" keys are bytes.
Metadata = Iterable[tuple[str, str | bytes]]
#: Raises a `CallError` for a caller that may not call at all.
Authenticate = Callable[[Metadata], str]

ANONYMOUS = "anonymous"


def caller(metadata: Metadata) -> str:
    """Everybody is the same caller until there are credentials to tell them apart."""
    return ANONYMOUS
