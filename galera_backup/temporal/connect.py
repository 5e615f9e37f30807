"""One way to connect to Temporal, for workers and for the command line."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from temporalio import envconfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from galera_backup.errors import GaleraBackupError, TemporalRefused, TemporalUnavailable
from galera_backup.temporal.plugin import plugin

DEFAULT_ADDRESS = "localhost:7233"
CONNECT_SECONDS = 10

_WHERE_TO_LOOK = "check that it runs and that TEMPORAL_ADDRESS, TEMPORAL_TLS and the profile file name it"


@dataclass(frozen=True)
class TemporalAddress:
    """Where the Temporal server is. None: as `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE` and the profile file say.

    The profile file (`TEMPORAL_CONFIG_FILE`) and the variables are those of the `temporal` command line; TLS, API key
    and request metadata can only be given there.
    """

    address: str | None = None
    namespace: str | None = None
    profile: str | None = None

    def resolve(self) -> envconfig.ClientConnectConfig:
        """Arguments of `Client.connect`, with our defaults."""
        try:
            config = envconfig.ClientConfig.load_client_connect_config(self.profile)
        except (RuntimeError, OSError, ValueError) as error:
            raise TemporalRefused(
                f"reading the Temporal profile failed: {error}; check TEMPORAL_PROFILE and TEMPORAL_CONFIG_FILE"
            ) from error
        config["target_host"] = self.address or config.get("target_host") or DEFAULT_ADDRESS
        config["namespace"] = self.namespace or config.get("namespace") or "default"
        return config


async def connect(where: TemporalAddress | None = None, *, runtime: Runtime | None = None) -> Client:
    """A connected client with our plugin.

    Raises `TemporalUnavailable` when waiting may help (no reply, or the namespace does not exist yet) and
    `TemporalRefused` when it will not.
    """
    config = (where or TemporalAddress()).resolve()
    address, namespace = config["target_host"], config["namespace"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await Client.connect(**config, plugins=[plugin()], runtime=runtime)
    except TimeoutError as error:
        raise TemporalUnavailable(
            f"the Temporal server at {address!r} did not answer within {CONNECT_SECONDS} s; {_WHERE_TO_LOOK}"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise _connect_error(error, address) from error
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status != RPCStatusCode.PERMISSION_DENIED:  # an authorizer may hide namespaces from us
            raise _rpc_error(error, address, namespace) from error
    return client


def _rpc_error(error: RPCError, address: str, namespace: str) -> GaleraBackupError:
    if error.status == RPCStatusCode.NOT_FOUND:
        return TemporalUnavailable(
            f"the Temporal server at {address!r} has no namespace {namespace!r}; create it with"
            f" `temporal operator namespace create --namespace {namespace}` or name another one (TEMPORAL_NAMESPACE)"
        )
    return TemporalUnavailable(
        f"the Temporal server at {address!r} answered {error.status.name}: {error.message}; is it still starting?"
    )


def _connect_error(error: Exception, address: str) -> GaleraBackupError:
    text = _reason(str(error))
    if "Unauthenticated" in text or "PermissionDenied" in text:
        return TemporalRefused(
            f"the Temporal server at {address!r} refused us: {text}; check TEMPORAL_API_KEY and TEMPORAL_TLS_*"
        )
    if isinstance(error, ValueError):
        return TemporalRefused(f"the Temporal address {address!r} cannot be used: {text}; it is written host:port")
    return TemporalUnavailable(f"no Temporal server can be reached at {address!r}: {text}; {_WHERE_TO_LOOK}")


def _reason(text: str) -> str:
    """The innermost message of an error that the SDK's core wrote in Rust's debug format."""
    messages: list[str] = re.findall(r'(?:message|error): "([^"]+)"', text)
    status = re.search(r"code: (\w+), message", text)
    return f"{status[1] + ': ' if status else ''}{messages[-1]}" if messages else text
