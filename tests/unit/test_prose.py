# SPDX-License-Identifier: Apache-2.0
"""Words per sentence and idioms, as `make check` counts them."""

from __future__ import annotations

from tests import prose

TEXT = """# A heading of many words that no sentence counts

Three short words. Is this
one of five? `code that.counts(as one)` runs.

- a point
- [a link](https://example.test/a/long/address) counts by text

| a table | is told apart |

```bash
nobody counts this.
```
"""


def test_sentences_are_counted_without_code_tables_and_headings() -> None:
    assert prose.sentences(TEXT) == [3, 5, 2, 2, 5]


def test_idioms_are_found_in_tables_and_over_line_ends_but_not_in_code() -> None:
    assert prose.idioms(TEXT + "It goes\non with `nobody`. Untold tellers.") == ["told", "goes on"]
