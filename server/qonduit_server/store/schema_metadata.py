# SPDX-License-Identifier: Apache-2.0
"""What all tables share: the collection of tables with its names of constraints, and the type of ids."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite generates ids only for columns of type INTEGER, which has 64 bits there.
Id: Final = BigInteger().with_variant(Integer(), "sqlite")
