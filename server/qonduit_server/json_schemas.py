# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas of server programs: whether they are valid, and whether values match them.

For workers, and for programs in their sandbox: a pattern or a recursive schema can take long, and the server kills
their processes once they exceed their time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from jsonschema import ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from qonduit.execution.v1.task_pb2 import SchemaViolation

#: Of one value: further errors are left out.
_MAX_ERRORS: Final = 20
_MESSAGE_CHARACTERS: Final = 300
_PATH_CHARACTERS: Final = 200


def schema_violations(schemas: Mapping[str, Any]) -> Iterator[SchemaViolation]:
    """Yield why schemas are invalid.

    Args:
        schemas: JSON Schemas of draft 3 or later, by the path of each.
    """
    for path, schema in schemas.items():
        kind = _kind(schema)
        try:
            kind.check_schema(schema, format_checker=kind.FORMAT_CHECKER)
        except SchemaError as error:
            yield _violation(error, path)
            continue
        except RecursionError:
            yield SchemaViolation(path=path, message="nested too deeply")
            continue
        for reference in _references(schema):
            if not reference.startswith("#"):
                message = f"$ref must refer to the schema itself (#...), got {reference!r}"
                yield SchemaViolation(path=path, message=message[:_MESSAGE_CHARACTERS])


def value_violations(schema: Any, value: Any) -> list[SchemaViolation]:
    """Return how a value violates a valid schema, at most 20 errors."""
    validator = _kind(schema)(schema, registry=EMPTY_REGISTRY)
    try:
        return [_violation(error, "") for error in islice(validator.iter_errors(value), _MAX_ERRORS)]
    except Unresolvable as error:
        return [SchemaViolation(message=f"the schema refers to what does not exist: {error}"[:_MESSAGE_CHARACTERS])]
    except RecursionError:
        return [SchemaViolation(message="the schema does not end: it refers to itself")]
    except re.error as error:
        return [SchemaViolation(message=f"the schema has an invalid pattern: {error}"[:_MESSAGE_CHARACTERS])]


def _kind(schema: Any) -> type[Validator]:
    kind: type[Validator] = validator_for(schema, default=Draft202012Validator)
    return kind


def _violation(error: ValidationError | SchemaError, prefix: str) -> SchemaViolation:
    path = prefix
    for part in error.absolute_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return SchemaViolation(path=path[:_PATH_CHARACTERS], message=error.message[:_MESSAGE_CHARACTERS])


def _references(schema: Any) -> Iterable[str]:
    """Yield all references of a schema."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            for key in ("$ref", "$dynamicRef", "$recursiveRef"):
                if isinstance(node.get(key), str):
                    yield node[key]
            left += node.values()
        elif isinstance(node, list):
            left += node
