# SPDX-License-Identifier: Apache-2.0
"""Lists as columns of text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Aligns columns under their heads; those in `right` to the right. The last column may be of any length."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *rows)
    )
