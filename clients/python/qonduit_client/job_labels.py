# SPDX-License-Identifier: Apache-2.0
"""Ids and labels by which adapters find jobs again: what submitted a job, how to read its results, and its tags."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from qonduit_client.job_filters import quoted

#: The beginning of the names of the adapters' own labels.
OWN: Final = "qonduit."
_KIND: Final = OWN + "kind"
_DATA: Final = OWN + "data"
#: The server's limits of labels: bytes of a value and of a name, and their number.
_VALUE_BYTES: Final = 255
_NAME_BYTES: Final = 63
_MOST: Final = 32
#: The number of labels that data may take; the others are for tags.
_MOST_DATA: Final = 20


def labels_of(kind: str, data: object, tags: Iterable[str] = (), metadata: Sequence[object] = ()) -> dict[str, str]:
    """Return the labels of a job.

    Args:
        kind: what submitted it: "qiskit.sampler".
        data: to read its results with; values of JSON. Too large data are omitted: the job's results can then be
            read by its own object only.
        tags: the user's own.
        metadata: of each circuit; those that are no values of JSON, and too large ones, are omitted.

    Raises:
        ValueError: a tag is too long, or there are too many.
    """
    labels = {_KIND: kind}
    texts = [[data, [_kept(each) for each in metadata]], [data, []]] if any(metadata) else [[data, []]]
    for text in (json.dumps(each, separators=(",", ":")) for each in texts):
        if len(text) <= _MOST_DATA * _VALUE_BYTES:
            pieces = [text[at : at + _VALUE_BYTES] for at in range(0, len(text), _VALUE_BYTES)]
            labels |= {f"{_DATA}.{place:02}": piece for place, piece in enumerate(pieces)}
            break
    for tag in tags:
        if not 1 <= len(tag.encode()) <= _NAME_BYTES or tag.startswith(OWN):
            raise ValueError(f"a tag must have 1 to {_NAME_BYTES} bytes and not begin with {OWN!r}, got {tag!r}")
        labels[tag] = ""
    if sum(not name.startswith(OWN) for name in labels) > _MOST - _MOST_DATA - 2:
        raise ValueError(f"a job has at most {_MOST - _MOST_DATA - 2} tags")
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


def data_of(labels: Mapping[str, str]) -> tuple[Any, list[Any]]:
    """Return the data of a job and the metadata of its circuits; (None, []) for a job without."""
    names = sorted(name for name in labels if name.startswith(_DATA + "."))
    if not names:
        return None, []
    data, metadata = json.loads("".join(labels[name] for name in names))
    return data, metadata


def users_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the user's own labels, sorted by name."""
    return {name: value for name, value in sorted(labels.items()) if not name.startswith(OWN)}


def packed(value: object) -> str:
    """Return a value of JSON, also with numbers of NumPy, as a compressed text, for data that repeat themselves."""
    text = json.dumps(value, separators=(",", ":"), default=lambda number: number.item())
    return base64.b85encode(zlib.compress(text.encode())).decode()


def unpacked(text: str) -> Any:
    """Return the value of a compressed text."""
    return json.loads(zlib.decompress(base64.b85decode(text)))


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


def _kept(value: object) -> object:
    """Return a value if JSON keeps it as it is, else None."""
    try:
        return value if json.loads(json.dumps(value)) == value else None
    except (TypeError, ValueError):
        return None
