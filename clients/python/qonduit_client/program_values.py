# SPDX-License-Identifier: Apache-2.0
"""The values of server programs as JSON: inputs, interim results and outputs.

JSON has no arrays of numbers, no complex numbers, no infinity, and no integers above 2^53. Such a value is an object
with `__type__` and `__value__`; docs/server-programs.md lists the types. All other values are JSON as they are.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

TYPE: Final = "__type__"
VALUE: Final = "__value__"
#: Integers beyond it are not exact in JSON.
_MOST_EXACT: Final = 2**53
#: The deepest nesting of a value: protobuf's parsers allow 100 levels of messages, and JSON takes three for each.
MAX_DEPTH: Final = 24
_NESTED: Final = f"the value is nested more than {MAX_DEPTH} levels deep"


def encode(value: object, depth: int = 0) -> Any:
    """Return a value as JSON.

    Raises:
        TypeError: its type has no encoding; the message names its place.
        ValueError: it is nested too deeply, or contains itself.
    """
    if depth > MAX_DEPTH:
        raise ValueError(_NESTED)
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if abs(value) <= _MOST_EXACT else _tagged("int", str(int(value)))
        case float():
            return float(value) if math.isfinite(value) else _tagged("float", repr(float(value)))
        case complex():
            return _tagged("complex", [encode(value.real), encode(value.imag)])
        case bytes() | bytearray():
            return _tagged("bytes", base64.b64encode(value).decode())
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return {_key(key): encode(each, depth + 1) for key, each in value.items()}
    if (array := _as_array(value)) is not None:
        return array
    if isinstance(value, Sequence):
        return [encode(each, depth + 1) for each in value]
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise TypeError(
        f"a value of type {kind} is not JSON: publish and return numbers, texts, lists, dictionaries, NumPy arrays and "
        "counts"
    )


def decode(value: Any) -> Any:
    """Return the value of its JSON. Whole numbers are integers, and arrays NumPy arrays, or nested lists without NumPy.

    All numbers of a message of the contract are floating-point, so 3 and 3.0 are the same.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TYPE)
    if not (isinstance(kind, str) and VALUE in value):
        return {key: decode(each) for key, each in value.items()}
    content = value[VALUE]
    match kind:
        case "int":
            return int(content)
        case "float":
            return float(content)
        case "complex":
            return complex(decode(content[0]), decode(content[1]))
        case "bytes":
            return base64.b64decode(content)
        case "ndarray":
            return _array(content, str(value.get("dtype", "float64")), value.get("shape", [len(content)]))
    return {key: decode(each) for key, each in value.items()}


def _tagged(kind: str, content: object) -> dict[str, Any]:
    return {TYPE: kind, VALUE: content}


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of a dictionary must be texts, got {key!r:.40}")
    return key


def _as_array(value: object) -> Any:
    """Return the JSON of a NumPy array or number; None for other values."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.generic):
        return encode(value.item())
    if not isinstance(value, numpy.ndarray):
        return None
    if value.dtype.kind not in "biufc":
        raise TypeError(f"an array of the type {value.dtype} is not JSON: use one of numbers or Booleans")
    flat = value.reshape(-1)
    if value.dtype.kind == "c":
        # Each number as its real part, followed by its imaginary part.
        flat = numpy.column_stack([flat.real, flat.imag]).reshape(-1)
    content = [encode(each) for each in flat.tolist()]
    return {**_tagged("ndarray", content), "dtype": str(value.dtype), "shape": list(value.shape)}


def _array(content: Sequence[Any], dtype: str, shape: Sequence[Any]) -> Any:
    flat = [decode(each) for each in content]
    if dtype.startswith("complex"):
        flat = [complex(real, imaginary) for real, imaginary in zip(flat[::2], flat[1::2], strict=True)]
    sizes = [int(each) for each in shape]
    try:
        import numpy as np
    except ImportError:
        return _nested(flat, sizes)
    return np.array(flat, dtype=dtype).reshape(sizes)


def _nested(flat: list[Any], shape: Sequence[int]) -> Any:
    """Return the nested lists of an array."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    step = len(flat) // shape[0] if shape[0] else 0
    return [_nested(flat[place * step : (place + 1) * step], shape[1:]) for place in range(shape[0])]
