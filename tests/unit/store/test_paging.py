# SPDX-License-Identifier: Apache-2.0
"""Pages are bounded in items and bytes, and each starts where the previous one ended."""

from __future__ import annotations

import pytest

from qonduit_server.errors import InvalidArgument
from qonduit_server.store.paging import MAX_PAGE_BYTES, Cursor

SCOPE = ("jobs", "alice", "")


def pages(sizes: list[int], page_size: int) -> list[list[int]]:
    """Page through items of these sizes in bytes; an item's key is its position, from 1."""
    found: list[list[int]] = []
    token = ""
    while True:
        cursor = Cursor(SCOPE, page_size, token)
        (after,) = cursor.after or (0,)
        rows = list(range(after + 1, len(sizes) + 1))[: cursor.size + 1]
        page, token = cursor.cut(rows, lambda key: (key,), lambda key: sizes[key - 1])
        found.append(page)
        if not token:
            return found


def test_a_page_ends_by_its_number() -> None:
    assert pages([1] * 5, 2) == [[1, 2], [3, 4], [5]]
    assert pages([1] * 4, 2) == [[1, 2], [3, 4]]
    assert pages([1] * 2, 5) == [[1, 2]]
    assert pages([], 5) == [[]]


def test_a_page_ends_by_its_size() -> None:
    half = MAX_PAGE_BYTES // 2
    assert pages([half] * 5, 10) == [[1, 2], [3, 4], [5]]
    assert pages([half, half + 1, half], 10) == [[1], [2], [3]]
    assert pages([MAX_PAGE_BYTES, 1, 1], 10) == [[1], [2, 3]]


def test_an_item_above_the_size_has_a_page_of_its_own() -> None:
    assert pages([2 * MAX_PAGE_BYTES, 1, 2 * MAX_PAGE_BYTES], 10) == [[1], [2], [3]]


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000)])
def test_a_page_has_a_number_of_items_that_is_bounded(asked: int, given: int) -> None:
    assert Cursor(SCOPE, asked, "").size == given


def test_a_token_is_bound_to_its_list() -> None:
    token = Cursor(SCOPE, 1, "").token(7)
    assert Cursor(SCOPE, 5, token).after == (7,)
    for scope in (
        ("jobs", "bob", ""),
        ("jobs", "alice", "state = RUNNING"),
        ("deployments", "alice", ""),
    ):
        with pytest.raises(InvalidArgument):
            Cursor(scope, 1, token)
