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
        (after,) = cursor.after(int) or (0,)
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
    assert Cursor(SCOPE, 5, token).after(int) == (7,)
    for scope in (
        ("jobs", "bob", ""),
        ("jobs", "alice", "state = RUNNING"),
        ("deployments", "alice", ""),
    ):
        with pytest.raises(InvalidArgument):
            Cursor(scope, 1, token)


@pytest.mark.parametrize("kinds", [(int,), (str, int), (int, int), (int, str, int), ()])
def test_a_token_with_other_values_than_those_of_the_list_is_refused(kinds: tuple[type, ...]) -> None:
    cursor = Cursor(SCOPE, 1, Cursor(SCOPE, 1, "").token(7, "a"))
    assert cursor.after(int, str) == (7, "a")
    with pytest.raises(InvalidArgument, match="page_token"):
        cursor.after(*kinds)


@pytest.mark.parametrize("keys", [(2, 5), (-1, 5), ("0", 5), (0, "5"), (0,), (1, 5), (0, 5, 5)])
def test_a_token_of_another_segment_is_refused(keys: tuple[int | str, ...]) -> None:
    segments = [[int], [str, int]]
    assert Cursor(SCOPE, 1, "").after_in(segments) is None
    assert Cursor(SCOPE, 1, Cursor(SCOPE, 1, "").token(1, "a", 5)).after_in(segments) == (1, ("a", 5))
    with pytest.raises(InvalidArgument, match="page_token"):
        Cursor(SCOPE, 1, Cursor(SCOPE, 1, "").token(*keys)).after_in(segments)
