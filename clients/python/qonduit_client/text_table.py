# SPDX-License-Identifier: Apache-2.0
"""Format tables as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Return a table with aligned columns; those in `right` are right-aligned. The last column may have any length."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *rows)
    )
