"""From typed options to a valid request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import pydantic

from galera_backup.durations import parse_duration
from galera_backup.errors import InvalidInput
from galera_backup.models.common import ClusterRef, Model
from galera_backup.text import field_errors

RequestT = TypeVar("RequestT", bound=Model)

_CLUSTER = "NAMESPACE/STATEFULSET"
_OPTION_OF = {
    "namespace": _CLUSTER,
    "statefulset": _CLUSTER,
    "cluster": _CLUSTER,
    "cluster.namespace": _CLUSTER,
    "cluster.statefulset": _CLUSTER,
    "source.namespace": "--source",
    "source.statefulset": "--source",
    "backup_id": "BACKUP_ID",
    "backups_to_keep": "--keep",
    "required_space_ratio": "--space-ratio",
    "credentials.secret": "--secret",
    "credentials.user_key": "--user-key",
    "credentials.password_key": "--password-key",
    "primary_label.key": "--primary-label",
    "primary_label.primary": "--primary-value",
    "primary_label.backup": "--backup-value",
    "checks": "--check",
    "check_credentials": "--check-secret",
    "accounts": "--account",
    "reset_passwords_from_secrets": "--reset-passwords",
}
"""Where an option's name is not that of the field."""


def cluster_of(text: str) -> ClusterRef:
    """The cluster that was typed as `namespace/statefulset`. Raises `InvalidInput`."""
    fields, problems = _split(text, _CLUSTER)
    return _valid(ClusterRef, fields, problems)


def request(model: type[RequestT], cluster: str, fields: Mapping[str, Any]) -> RequestT:
    """The request that the options describe. Raises `InvalidInput` that names every wrong option."""
    where, problems = _split(cluster, _CLUSTER)
    values: dict[str, Any] = {"cluster": where} | dict(fields)
    if "source" in values:
        values["source"], wrong = _split(values["source"], "--source")
        problems += wrong
    for name, value in fields.items():
        if isinstance(value, str) and isinstance(model.model_fields[name].default, timedelta):
            try:
                values[name] = parse_duration(value)
            except ValueError as error:
                problems.append(f"{_option(name)}: {error}, got {value!r}")
                del values[name]
    return _valid(model, values, problems)


def _split(cluster: str, option: str) -> tuple[dict[str, str], list[str]]:
    namespace, slash, statefulset = cluster.partition("/")
    if slash:
        return {"namespace": namespace, "statefulset": statefulset}, []
    stand_in = {"namespace": "n", "statefulset": "s"}  # so that the other fields are checked as well
    return stand_in, [f"{option}: expected for example openstack/mariadb-server, got {cluster!r}"]


def _valid(model: type[RequestT], values: Mapping[str, Any], problems: list[str]) -> RequestT:
    try:
        valid = model.model_validate(values)
    except pydantic.ValidationError as error:
        problems = problems + [f"{_option(field)}: {problem}" for field, problem in field_errors(error)]
    if problems:
        raise InvalidInput("; ".join(problems))
    return valid


def _option(field: str) -> str:
    option = _OPTION_OF.get(field) or _OPTION_OF.get(field.partition(".")[0])
    return option or "--" + field.replace("_", "-").replace(".", "-")
