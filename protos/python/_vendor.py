# SPDX-License-Identifier: Apache-2.0
"""The descriptors of the rules that stand in the contract. `make generate` writes this package.

A process holds one file named buf/validate/validate.proto. Where another distribution brings it as `buf.validate`, that
one is taken, for a second one could not be loaded; else ours, whose name no other distribution has.
"""

try:
    from buf.validate import validate_pb2
except ImportError:
    from qonduit._vendor.buf import validate_pb2

__all__ = ["validate_pb2"]
