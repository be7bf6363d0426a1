# SPDX-License-Identifier: Apache-2.0
"""The result of every writer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WriteResult:
    """A program in a language (text or, for binary languages, bytes), and warnings about changes and losses."""

    source: str | bytes
    warnings: tuple[str, ...] = ()
