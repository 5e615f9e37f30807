"""The table of all findings: what each kind means for a backup and for a restore.

A backup reads one replica's data and gives the replica back; it is refused where it could not succeed, or could not
tell that it is wrong. A restore stops the cluster; it is refused wherever data could be lost, or the servers might not
come back.
"""

from __future__ import annotations

from galera_backup.models.preflight import Effect, Finding, Severity

_REFUSES, _WARNS, _TELLS, _NONE = Effect.REFUSES, Effect.WARNS, Effect.TELLS, Effect.NONE


def _severity(backup: Effect, restore: Effect, *, acceptable: bool = False) -> Severity:
    return Severity(backup=backup, restore=restore, acceptable=acceptable)


SEVERITIES: dict[str, Severity] = {
    # claims that would not outlive the stop
    "claims-deleted-by-scaling": _severity(_WARNS, _REFUSES),
    "claim-missing": _severity(_REFUSES, _REFUSES),
    "claim-lost": _severity(_REFUSES, _REFUSES),
    "claim-unbound": _severity(_TELLS, _REFUSES, acceptable=True),
    "claim-deleting": _severity(_WARNS, _REFUSES),
    "claim-owned": _severity(_WARNS, _REFUSES, acceptable=True),
    "claim-owned-by-a-pod": _severity(_WARNS, _REFUSES),
    "claim-owned-by-the-statefulset": _severity(_NONE, _REFUSES, acceptable=True),
    # claims on which nobody can work beside the server
    "claim-for-one-pod": _severity(_REFUSES, _REFUSES),
    "backup-claim-in-turn": _severity(_NONE, _TELLS),
    "backup-claim-in-use": _severity(_WARNS, _WARNS),
    "claim-shared": _severity(_WARNS, _REFUSES),
    "claim-read-by-others": _severity(_NONE, _WARNS),
    "claim-without-filesystem": _severity(_REFUSES, _REFUSES),
    # the StatefulSet and its pods
    "statefulset-deleting": _severity(_REFUSES, _REFUSES),
    "pod-of-another-owner": _severity(_REFUSES, _REFUSES),
    "pod-beyond-the-replicas": _severity(_WARNS, _REFUSES),
    "template-has-another-image": _severity(_TELLS, _REFUSES, acceptable=True),
    "disruption-budget": _severity(_TELLS, _NONE),
    "template-differs": _severity(_NONE, _REFUSES, acceptable=True),
    "template-mounts-elsewhere": _severity(_TELLS, _REFUSES),
    # who else decides about it
    "controlled": _severity(_NONE, _REFUSES, acceptable=True),
    "delivered": _severity(_NONE, _REFUSES, acceptable=True),
    "autoscaled": _severity(_NONE, _REFUSES, acceptable=True),
    "replicas-written": _severity(_NONE, _TELLS),
    # where the data is
    "datadir-elsewhere": _severity(_REFUSES, _REFUSES),
    "datadir-unresolved": _severity(_REFUSES, _REFUSES),
    "datadir-differs": _severity(_WARNS, _REFUSES),
    "data-elsewhere": _severity(_NONE, _REFUSES, acceptable=True),
    "data-directory-unknown": _severity(_NONE, _REFUSES, acceptable=True),
    "mounted-in-the-data-directory": _severity(_REFUSES, _REFUSES, acceptable=True),
    "data-files-elsewhere": _severity(_REFUSES, _REFUSES),
    "logs-elsewhere": _severity(_TELLS, _REFUSES),
    "logs-were-elsewhere": _severity(_NONE, _REFUSES, acceptable=True),
    "galera-state-elsewhere": _severity(_TELLS, _REFUSES),
    "tables-elsewhere": _severity(_REFUSES, _NONE),
    "tables-not-backed-up": _severity(_REFUSES, _NONE, acceptable=True),
    "directories-unreadable": _severity(_REFUSES, _REFUSES),
    "volume-not-writable": _severity(_NONE, _REFUSES, acceptable=True),
    "backups-not-writable": _severity(_REFUSES, _REFUSES),
    "settings-differ": _severity(_NONE, _REFUSES, acceptable=True),
    "names-removed": _severity(_NONE, _WARNS),
    "names-stay": _severity(_NONE, _TELLS),
    "data-in-the-way": _severity(_NONE, _REFUSES),
    "replicates-from-elsewhere": _severity(_NONE, _WARNS),
    # whose group it is
    "members-beyond": _severity(_TELLS, _REFUSES),
    "group-unclear": _severity(_TELLS, _REFUSES, acceptable=True),
    "first-not-in-sync": _severity(_NONE, _REFUSES, acceptable=True),
    "group-unknown": _severity(_NONE, _WARNS),
    # the account and the servers
    "account-unknown": _severity(_REFUSES, _REFUSES),
    "log-in": _severity(_REFUSES, _REFUSES),
    "server-silent": _severity(_WARNS, _WARNS),
    "no-server-answers": _severity(_REFUSES, _REFUSES),
    "grants-missing": _severity(_REFUSES, _WARNS),
    "connections-too-few": _severity(_REFUSES, _NONE),
    "connections-limited": _severity(_WARNS, _NONE),
    "connections-not-reserved": _severity(_WARNS, _NONE),
    "hourly-limits": _severity(_WARNS, _WARNS),
    "version-too-old": _severity(_REFUSES, _REFUSES),
    "version-unknown": _severity(_REFUSES, _REFUSES),
    "versions-differ": _severity(_TELLS, _WARNS),
    "keys-out-of-reach": _severity(_REFUSES, _REFUSES),
    "stays-in-service": _severity(_REFUSES, _NONE),
    "backup-gives-way": _severity(_WARNS, _NONE),
    "copies-sent-by-rsync": _severity(_NONE, _WARNS),
    # whether the pods would run
    "pod-refused": _severity(_REFUSES, _REFUSES),
    "memory-limited": _severity(_REFUSES, _REFUSES),
    "pod-unknown": _severity(_REFUSES, _REFUSES),
    "pod-selected": _severity(_REFUSES, _REFUSES),
    "scaling-refused": _severity(_NONE, _REFUSES),
    "server-pod-refused": _severity(_WARNS, _REFUSES, acceptable=True),
    "images-pulled": _severity(_NONE, _WARNS),
    "outage-pods-larger": _severity(_NONE, _WARNS),
    "quota-exceeded": _severity(_REFUSES, _REFUSES),
    "quota-not-judged": _severity(_TELLS, _TELLS),
    # what could not be read
    "unknown-resourcequotas": _severity(_WARNS, _WARNS),
    "unknown-poddisruptionbudgets": _severity(_TELLS, _NONE),
    "unknown-horizontalpodautoscalers": _severity(_NONE, _WARNS),
}
"""Key: `Finding.kind`."""


def found(kind: str, about: str, saw: str, remedy: str = "") -> Finding:
    """A finding with the severity of its kind."""
    return Finding(kind=kind, severity=SEVERITIES[kind], about=about, saw=saw, remedy=remedy)
