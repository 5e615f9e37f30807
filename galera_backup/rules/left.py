"""What is said of a cluster that undoing an operation could not start, and what a person does then."""

from __future__ import annotations

from collections.abc import Sequence

from galera_backup import names
from galera_backup.errors import ClusterLeftPartial, ClusterLeftStopped, GaleraBackupError
from galera_backup.models.mark import StartRecipe
from galera_backup.models.restore import ClaimReport, Strategy
from galera_backup.models.volumes import STAGED_RESTORES
from galera_backup.show import describe_claims

_HELD = "Pods hold the names of its servers until then, so that nobody starts them"


def left(recipe: StartRecipe, claims: Sequence[ClaimReport], serving: int, why: str) -> GaleraBackupError:
    """Its claims do not fit together; `serving` replicas run on those that do.

    `why`: it can be started on neither the previous nor the restored data of a staged restore.
    """
    cluster, size, saw = str(recipe.site.cluster), recipe.replicas, describe_claims(claims)
    if why:
        return ClusterLeftStopped(
            f"StatefulSet {cluster!r} stays at 0 replicas: {why}. Claims: {saw}. Where a volume cannot be "
            "read, mend that and run the janitor. Else start a restore with strategy 'in_place' and 'replicas': "
            f"{size}, which redoes every claim from a backup; before that, copy the previous data that is still "
            f"needed from '{STAGED_RESTORES}/{recipe.restore_id}/previous' on its claim. {_HELD}"
        )
    if not serving:
        return ClusterLeftStopped(
            f"StatefulSet {cluster!r} stays at 0 replicas: expected all data claims untouched or all restored, saw "
            f"{saw}. Start the restore again; it redoes every claim. {_HELD}"
        )
    return ClusterLeftPartial(
        f"StatefulSet {cluster!r} stays at {serving} of {size} replicas, which serve: expected all data "
        f"claims restored, saw {saw}. Do not scale it up by hand: the others hold data of another cluster. Mend "
        "the cause and run the janitor, which finishes the restore; or scale the StatefulSet to 0 and start the "
        f"restore again with 'replicas': {size}: that redoes every claim, and loses what was written since"
    )


def behind(recipe: StartRecipe, why: str) -> ClusterLeftStopped:
    """Its first server would form the cluster, and misses what others have. `why` ends with what to copy."""
    return ClusterLeftStopped(
        f"StatefulSet {str(recipe.site.cluster)!r} stays at 0 replicas, and its claims hold what they held: {why}, "
        f"then run the janitor. {_HELD}"
    )


def way_out(recipe: StartRecipe, *, restored: bool | None, first_forms: bool) -> str:
    """What to do where a cluster that was started does not form; empty: nobody knows.

    `restored`: on which data; None: nobody has looked. `first_forms`: its first server may form it.
    """
    if restored is None or (first_forms and not restored):
        return ""
    if not restored:
        first = names.pod(recipe.site.cluster, recipe.first_ordinal)
        return (
            f"; where the server of {first}, the last to stop, was killed in the stop, none may form the cluster: set "
            "'safe_to_bootstrap: 1' in its grastate.dat"
        )
    if recipe.strategy != Strategy.STAGED or recipe.is_rollback:
        return ""
    command = f"galera-backup rollback {recipe.site.cluster} {recipe.restore_id}"
    return f"; the previous data is beside the restored data, and is put back by: {command}"


def started_by_others(recipe: StartRecipe, replicas: int) -> GaleraBackupError:
    """The pods that held the names of its servers are gone, and it wants so many replicas."""
    return ClusterLeftPartial(
        f"StatefulSet {str(recipe.site.cluster)!r}: expected 0 replicas while its data is replaced, it wants "
        f"{replicas}, and nothing holds the names of its servers any more: somebody has removed the pods that did, so "
        "its servers may run on claims that are half restored. Scale it to 0 and start the restore again with "
        f"'replicas': {recipe.replicas}, which redoes every claim"
    )
