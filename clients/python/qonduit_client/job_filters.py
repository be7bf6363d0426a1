# SPDX-License-Identifier: Apache-2.0
"""Filters of lists as text, and what a change of all matching jobs did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def quoted(text: str, *, begins: bool = False) -> str:
    """Return a text as a value of a filter, which matches exactly this text, or all that begin with it."""
    escaped = "".join(f"\\{char}" if char in '"\\*' else char for char in text)
    return f'"{escaped}{"*" if begins else ""}"'


def both(*filters: str) -> str:
    """Return the filter that matches what all filters match; empty ones match everything."""
    # AND binds weakest, so that the filters need no parentheses.
    return " AND ".join(each for each in filters if each.strip())


def selection(filter: str, labels: Mapping[str, str] | None, project: str | None = None) -> str:
    """Return a filter that also requires labels with these values, and a project; "" stands for jobs of no project."""
    parts = [f"label.{quoted(key)} = {quoted(value)}" for key, value in (labels or {}).items()]
    if project is not None:
        parts.append(f"project = {quoted(project)}" if project else "NOT project:*")
    return both(*parts, filter)


@dataclass
class MatchingJobs:
    """The jobs that a call changed, or would change.

    Attributes:
        count: their number.
        job_ids: their ids; of many jobs only some.
    """

    count: int = 0
    job_ids: list[int] = field(default_factory=list)
