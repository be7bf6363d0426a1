# SPDX-License-Identifier: Apache-2.0
"""The filter language: what each filter means as a tree, which filters are rejected, and that its cost is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qonduit_server.store.filter_language import (
    MAX_BYTES,
    MAX_COMPARISONS,
    MAX_DEPTH,
    All,
    Comparison,
    FilterError,
    Node,
    Not,
    Value,
    parse,
)


def shape(node: Node) -> str:
    """Return a tree as text: `and(a=1, not(b=2))`."""
    if isinstance(node, Comparison):
        value = f"{'*' * node.value.starts_open}{node.value.text}{'*' * node.value.ends_open}"
        return f"{node.field}{'' if node.key is None else '.' + node.key}{node.operator}{value}"
    if isinstance(node, Not):
        return f"not({shape(node.part)})"
    return f"{'and' if isinstance(node, All) else 'or'}({', '.join(map(shape, node.parts))})"


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("", "and()"),
        (" \t\n", "and()"),
        ("*", "and()"),
        ("a = 1", "a=1"),
        ("a=1 AND b!=2", "and(a=1, b!=2)"),
        ("a=1 b<2", "and(a=1, b<2)"),
        ("a=1 AND b=2 OR c=3", "and(a=1, or(b=2, c=3))"),
        ("a=1 OR b=2 c=3", "and(or(a=1, b=2), c=3)"),
        ("(a=1 AND b=2) OR c=3", "or(and(a=1, b=2), c=3)"),
        ("NOT a=1 OR b=2", "or(not(a=1), b=2)"),
        ("-a=1", "not(a=1)"),
        ("-(a=1 b=2)", "not(and(a=1, b=2))"),
        ("NOT (a=1)", "not(a=1)"),
        ("NOT NOT a=1", "not(not(a=1))"),
        ("((a<=1))", "a<=1"),
        ("(a>=1)AND(b>2)", "and(a>=1, b>2)"),
        ("a=1 AND *", "and(a=1, and())"),
        ("a = -5", "a=-5"),
        ("a > 2026-01-31T12:00:00Z", "a>2026-01-31T12:00:00Z"),
        ("a:b:c", "a:b:c"),
        ("a = IBM/aer_simulator", "a=IBM/aer_simulator"),
        ("label.x = y", "label.x=y"),
        ("label.x.y:*", "label.x.y:**"),
        ("label.", None),
        ("""label."a 'b' = c" = 'd "e"'""", """label.a 'b' = c=d "e\""""),
        ('a = "x*"', "a=x*"),
        ('a = "*x*"', "a=*x*"),
        ("a = *x", "a=*x"),
        (r'a = "x\*"', "a=x*"),
        (r'a = "\"\\"', 'a="\\'),
        ("ANDROID = 1 NOTHING = 2 ORDER = 3", "and(ANDROID=1, NOTHING=2, ORDER=3)"),
        ("a=1 and b=2", None),
        ("a=1 AND", None),
        ("AND a=1", None),
        ("OR", None),
        ("NOT", None),
        ("-", None),
        ("a", None),
        ("a =", None),
        ("a = (", None),
        ("a = 1)", None),
        ("(a = 1", None),
        ("()", None),
        ("a = b = c", None),
        ("= 1", None),
        ('"a" = 1', None),
        ('a = "open', None),
        ("a = x*y", None),
        ("a = ***", None),
        ("a == 1", None),
        ("\0", None),
        ("a = \ud800", None),
    ],
)
def test_filters_are_read_or_rejected(filter: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(FilterError):
            parse(filter)
    else:
        assert shape(parse(filter)) == expected


def test_an_escaped_wildcard_is_a_character() -> None:
    tree = parse(r'a = "x\*"')
    assert isinstance(tree, Comparison)
    assert (tree.value.text, tree.value.is_exact) == ("x*", True)


def test_lower_case_keywords_get_a_hint() -> None:
    with pytest.raises(FilterError, match="keywords are in capitals"):
        parse("a = 1 and b = 2")


def test_size_nesting_and_comparisons_are_bounded() -> None:
    parse(" " * (MAX_BYTES - 3) + "a=1")
    with pytest.raises(FilterError, match=f"at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"):
        parse(" " * (MAX_BYTES - 2) + "a=1")
    parse("(" * MAX_DEPTH + "a=1" + ")" * MAX_DEPTH)
    for deeper in ("(" * (MAX_DEPTH + 1) + "a=1" + ")" * (MAX_DEPTH + 1), "(" * 2000, "-" * 2000, "NOT " * 500):
        with pytest.raises(FilterError, match="nested"):
            parse(deeper)
    parse("a=1 " * MAX_COMPARISONS)
    with pytest.raises(FilterError, match=f"at most {MAX_COMPARISONS} comparisons"):
        parse("a=1 " * (MAX_COMPARISONS + 1))


_FRAGMENTS = st.sampled_from(
    [*"()*-=<>:.,'\"\\ ", "AND", "OR", "NOT", "a", "label.x", "!=", "<=", '"b*"', "1", "é", "\n", "state", "#"]
)


@given(st.lists(_FRAGMENTS, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_rejected(text: str) -> None:
    try:
        answer = shape(parse(text))
    except FilterError as error:
        answer = str(error)
    assert len(answer) <= max(200, 20 * len(text))


_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(_TEXTS, st.booleans(), st.booleans())
def test_every_text_can_be_written_as_a_value(text: str, starts_open: bool, ends_open: bool) -> None:
    quoted = "".join(f"\\{char}" if char in '"\\*' else char for char in text)
    tree = parse(f'a = "{"*" * starts_open}{quoted}{"*" * ends_open}"')
    assert isinstance(tree, Comparison)
    alone = not text and (starts_open or ends_open)
    assert tree.value == Value(text, starts_open or alone, ends_open or alone, tree.value.given)
