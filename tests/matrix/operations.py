"""The table: all operations, and all cells."""

from __future__ import annotations

from tests.matrix import undone
from tests.matrix.backup import BACKUP, BACKUP_OF_ANOTHER
from tests.matrix.clone import CLONE
from tests.matrix.in_place import IN_PLACE
from tests.matrix.janitor import JANITOR, JANITOR_OF_A_STOP
from tests.matrix.rollback import ROLLBACK, TIDY
from tests.matrix.rolling import ROLLING
from tests.matrix.staged import STAGED, STAGED_AND_BACK
from tests.matrix.table import Cell, cells

OPERATIONS = (
    BACKUP,
    BACKUP_OF_ANOTHER,
    IN_PLACE,
    STAGED,
    STAGED_AND_BACK,
    ROLLING,
    CLONE,
    ROLLBACK,
    TIDY,
    JANITOR,
    JANITOR_OF_A_STOP,
    *undone.OPERATIONS,
)
CELLS: dict[str, Cell] = {cell.name: cell for cell in cells(OPERATIONS)}
