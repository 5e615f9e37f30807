"""`galera-backup search-attributes`: register what the Temporal namespace needs."""

from __future__ import annotations

import typer

from galera_backup.temporal.attributes import SEARCH_ATTRIBUTES, ensure_search_attributes
from starters._grouped import grouped
from starters._options import AsJson, TemporalOptions
from starters._screen import Screen, conduct
from starters._session import Session


@grouped
def search_attributes(temporal: TemporalOptions, as_json: AsJson = False) -> None:
    """Register the search attributes in the Temporal namespace. A worker does this by itself where it may."""

    async def work(screen: Screen) -> None:
        session = await Session.open(screen, temporal)
        new = await ensure_search_attributes(session.client)
        state = {key.name: "registered now" if key.name in new else "was there" for key in SEARCH_ATTRIBUTES}
        screen.answer({"registered": list(new)}, *(f"{name}: {how}" for name, how in state.items()))

    conduct(as_json, work)


if __name__ == "__main__":
    typer.run(search_attributes)
