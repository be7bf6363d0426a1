# SPDX-License-Identifier: Apache-2.0
"""The triggers that make the audit log append-only, for each database; revision 0009 creates the same.

An entry can only be deleted if the table `audit_guard` contains a later time. Retention adds this row and removes it in
the transaction that deletes. An account that may drop triggers can circumvent them; the hashes then show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_MESSAGE: Final = "the audit log is append-only"

STATEMENTS: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": (
        f"""CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries
        BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END""",
        # REPLACE deletes rows without the trigger of DELETE.
        f"""CREATE TRIGGER audit_entries_replace BEFORE INSERT ON audit_entries
        WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END""",
        f"""CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries
        WHEN OLD.at >= coalesce((SELECT max(deletable_before) FROM audit_guard), 0)
        BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF TG_OP = 'DELETE' AND OLD.at < coalesce((SELECT max(deletable_before) FROM audit_guard), 0) THEN
            RETURN OLD;
          END IF;
          RAISE EXCEPTION '{_MESSAGE}' USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
        """CREATE TRIGGER audit_entries_change BEFORE UPDATE OR DELETE ON audit_entries
        FOR EACH ROW EXECUTE FUNCTION audit_entries_refuse()""",
        """CREATE TRIGGER audit_entries_truncate BEFORE TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_refuse()""",
    ),
}
