"""Groups of options, so that commands share them without repeating their signatures."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

CommandT = TypeVar("CommandT", bound=Callable[..., None])


def grouped(command: CommandT) -> CommandT:
    """Let Typer see each field of a parameter that is a group of options as an option of its own."""
    groups: dict[str, type[Any]] = {}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and dataclasses.is_dataclass(group):
            groups[parameter.name] = group
            flat += inspect.signature(group, eval_str=True).parameters.values()
        else:
            flat.append(parameter)

    @functools.wraps(command)
    def wrapper(**options: Any) -> None:
        built = {
            name: group(**{each.name: options.pop(each.name) for each in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**options, **built)

    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in flat]
    wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in flat}
    return cast(CommandT, wrapper)
