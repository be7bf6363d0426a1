# SPDX-License-Identifier: Apache-2.0
"""What an error of a change to the database means for its retry."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Error as MessageError
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from qonduit_server.errors import Unavailable

#: PostgreSQL's codes for a deadlock and for a serialization failure.
_RACE_CODES: Final = ("40P01", "40001")
#: PostgreSQL's code for a write that fails because the server (a standby, for example) or the session is read-only.
_READ_ONLY_CODE: Final = "25006"
#: Errors of an unavailable database: locked, unreachable, full, or no free connection in time.
UNAVAILABLE_ERRORS: Final = (OperationalError, InterfaceError, PoolTimeout)
#: Errors of an operation that cannot succeed. Listed one by one: any other error ends the thread.
FAULTS: Final = (
    SQLAlchemyError,
    MessageError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def is_race(error: BaseException) -> bool:
    """Return whether an error is a race or a deadlock with another server, so that a retry is likely to succeed."""
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, DBAPIError) and _sqlstate(error) in _RACE_CODES


def is_unavailable(error: BaseException) -> bool:
    """Return whether a change failed because the database is unavailable or read-only, so that a retry may succeed."""
    # For a session that PostgreSQL ended, the driver's error may be of any class.
    if isinstance(error, DBAPIError) and (error.connection_invalidated or _sqlstate(error) == _READ_ONLY_CODE):
        return True
    return isinstance(error, Unavailable) or (isinstance(error, UNAVAILABLE_ERRORS) and not is_race(error))


def _sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's code of an error."""
    return getattr(error.orig, "sqlstate", None)
