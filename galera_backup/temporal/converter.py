"""JSON between Temporal and our models: what a person typed is checked, what our own code wrote is trusted."""

from __future__ import annotations

from typing import Any

import pydantic
from temporalio import workflow
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from galera_backup.errors import InvalidInput
from galera_backup.text import field_errors


def invalid_input(error: pydantic.ValidationError) -> InvalidInput:
    """Names each wrong field: its path, what was expected and, where that cannot be a secret, what was seen."""
    problems = [f"{field}: {problem}" for field, problem in field_errors(error)]
    return InvalidInput(f"invalid {error.title}: {'; '.join(problems)}")


class _Json(PydanticJSONPlainPayloadConverter, WithSerializationContext):
    """JSON of what our own code exchanges: a value that does not fit suspends the workflow until a deploy mends it.

    Making it a failure would be worse: the SDK decodes results of activities and children outside of the workflow's
    coroutine, so such a failure ends the run without its `finally` blocks.
    """

    def with_context(self, context: SerializationContext) -> _Json:
        # The SDK makes a run's own converter before the workflow's code runs, and those for its children inside of it.
        from_people = isinstance(context, WorkflowSerializationContext) and not workflow.in_workflow()
        return _FROM_PEOPLE if from_people else _FROM_US


class _JsonFromPeople(_Json):
    """JSON that a person may have typed (start, update, query): what does not fit is one final, readable error."""

    def from_payload(self, payload: Any, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except pydantic.ValidationError as error:
            raise invalid_input(error) from None


_FROM_US, _FROM_PEOPLE = _Json(), _JsonFromPeople()  # shared by all runs, and so are their caches of type adapters


class GaleraPayloadConverter(CompositePayloadConverter):
    """The SDK's converters, with ours for JSON."""

    def __init__(self) -> None:
        stock = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_FROM_US if isinstance(each, JSONPlainPayloadConverter) else each for each in stock))


data_converter = DataConverter(payload_converter_class=GaleraPayloadConverter)
