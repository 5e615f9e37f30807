"""The four search attributes of our workflows, and their registration.

Workflow code imports the keys, so importing this module opens no connection and reads no environment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from galera_backup.errors import TemporalRefused

CLUSTER = SearchAttributeKey.for_keyword("GaleraCluster")
"""`<namespace>/<statefulset>`, on every operation and lease."""
REPLICA = SearchAttributeKey.for_keyword("GaleraReplica")
"""Pod that is backed up."""
BACKUP_ID = SearchAttributeKey.for_keyword("GaleraBackupId")
PHASE = SearchAttributeKey.for_keyword("GaleraPhase")

SEARCH_ATTRIBUTES = (CLUSTER, REPLICA, BACKUP_ID, PHASE)

REGISTER_COMMAND = "temporal operator search-attribute create " + " ".join(
    f"--name {key.name} --type Keyword" for key in SEARCH_ATTRIBUTES
)


async def ensure_search_attributes(client: Client, *, patience: float = 30) -> tuple[str, ...]:
    """Register what the namespace lacks of our search attributes; the names that were missing.

    An attribute is there when a query may name it. Asking that way needs no more than the right to list workflows,
    which managed services grant as well; only adding needs an operator. Until an added attribute counts a server may
    take some seconds: at most `patience`.

    Raises `TemporalRefused`, with the command for an operator, when the server does not let us add them.
    """
    missing = [key.name for key in SEARCH_ATTRIBUTES if not await _is_registered(client, key.name)]
    if not missing:
        return ()
    kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, kind))
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status == RPCStatusCode.UNAVAILABLE:
            raise
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise _not_registered(client, missing, f"{error.status.name}: {error.message}") from error
    deadline = time.monotonic() + patience
    while not all([await _is_registered(client, name) for name in missing]):
        if time.monotonic() > deadline:
            raise _not_registered(client, missing, f"still unknown {patience:g} s after they were added")
        await asyncio.sleep(0.2)
    return tuple(missing)


async def _is_registered(client: Client, name: str) -> bool:
    request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=f"{name} = 'registered?'")
    try:
        await client.workflow_service.count_workflow_executions(request)
    except RPCError as error:
        if error.status == RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise
    return True


def _not_registered(client: Client, missing: Iterable[str], why: str) -> TemporalRefused:
    return TemporalRefused(
        f"the namespace {client.namespace!r} lacks the search attributes {', '.join(missing)}, and registering them"
        f" failed ({why}); an operator of the Temporal server can: {REGISTER_COMMAND} --namespace {client.namespace}"
    )
