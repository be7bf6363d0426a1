# SPDX-License-Identifier: Apache-2.0
"""Ids and labels by which adapters find jobs again: what submitted a job, and its tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from qonduit_client.job_filters import quoted

#: The beginning of the names of the adapters' own labels.
OWN: Final = "qonduit."
_KIND: Final = OWN + "kind"
#: The server's limit of the name of a label, in bytes.
_NAME_BYTES: Final = 63
#: The server's limit of labels, without those of the kind and of the group.
_MOST_TAGS: Final = 30


def labels_of(kind: str, tags: Iterable[str] = ()) -> dict[str, str]:
    """Return the labels of a job.

    Args:
        kind: what submitted it: "qiskit.sampler".
        tags: the user's own.

    Raises:
        ValueError: a tag is too long, or there are too many.
    """
    labels = {_KIND: kind}
    for tag in tags:
        if not 1 <= len(tag.encode()) <= _NAME_BYTES or tag.startswith(OWN):
            raise ValueError(f"a tag must have 1 to {_NAME_BYTES} bytes and not begin with {OWN!r}, got {tag!r}")
        labels[tag] = ""
    if len(labels) - 1 > _MOST_TAGS:
        raise ValueError(f"a job has at most {_MOST_TAGS} tags, got {len(labels) - 1}")
    return labels


def kind_of(labels: Mapping[str, str]) -> str:
    """Return what submitted a job; "" for a job of no adapter."""
    return labels.get(_KIND, "")


def of_kind(kind: str, *, begins: bool = False) -> str:
    """Return the filter for the jobs of an adapter: of a kind, or of all that begin with it."""
    return f"label.{quoted(_KIND)} = {quoted(kind, begins=begins)}"


def tagged(tag: str) -> str:
    """Return the filter for the jobs with a tag."""
    return f'label.{quoted(tag)} = ""'


def users_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the user's own labels, sorted by name."""
    return {name: value for name, value in sorted(labels.items()) if not name.startswith(OWN)}


def ids_of(job_id: str | int) -> list[int]:
    """Return the ids of the server's jobs of a job of an adapter, in ascending order.

    Args:
        job_id: a number, or several separated by commas.

    Raises:
        ValueError: it is something else.
    """
    ids = str(job_id).split(",")
    if not all(each.strip().isdecimal() for each in ids):
        raise ValueError(f"a job's id is a number, or several separated by commas, got {job_id!r}")
    return sorted(map(int, ids))
