"""Record the histories that test_replay.py replays: one for each branch of the workflows, made on fakes.

    python -m tests.replay.record

Run it by hand when a release changes what workflows do, and commit the new files under a new folder beside the old
ones: a history of a released version must replay as long as a run of that version may be open. The folder's name is
the argument, by default the version of this package.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from galera_backup import __version__
from tests.conftest import dev_server, find_temporal_cli
from tests.fakes.stage import BACKUP_ID, Handle, open_stage
from tests.replay import of_backups, of_janitors, of_restores
from tests.replay.branch import Branch
from tests.support.eventually import assert_eventually

CHECKOUT = Path(__file__).resolve().parents[2]
HISTORIES = Path(__file__).parent / "histories"
BRANCHES: dict[str, Branch] = {**of_backups.branch, **of_restores.branch, **of_janitors.branch}
AT_ONCE = 8
"""More of them begin their first tasks too late on two cores: a task that is late is in the history twice."""


async def record(folder: Path) -> None:
    """Write the histories of all branches."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    free = asyncio.Semaphore(AT_ONCE)
    async with dev_server(find_temporal_cli()) as environment, open_stage(environment.client) as stage:

        async def one(name: str, run: Branch) -> None:
            world = stage.world(backups=(BACKUP_ID,))
            async with free:
                handle = await run(stage, world)
                await assert_eventually(lambda: stage.lease_is_closed(world))
            await write(folder / f"{name}.json", handle)
            if await stage.status(stage.lease(world)) is not None:
                await write(folder / f"{name}.lease.json", stage.lease(world))

        await asyncio.gather(*(one(name, run) for name, run in BRANCHES.items()))


async def write(path: Path, handle: Handle) -> None:
    """One history, as `temporal workflow show -o json` would write it."""
    path.write_text(_without_paths((await handle.fetch_history()).to_json()) + "\n")


def _without_paths(history: str) -> str:
    """Stack traces name files of the machine that recorded them: only their names below the checkout stay."""
    for folder in sorted({str(CHECKOUT), *(each for each in sys.path if each.startswith("/"))}, key=len, reverse=True):
        history = history.replace(f"{folder}/", "")
    return history


if __name__ == "__main__":
    target = HISTORIES / (sys.argv[1] if len(sys.argv) > 1 else __version__)
    asyncio.run(record(target))
    print(f"{len(list(target.iterdir()))} histories in {target}")
