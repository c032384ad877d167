"""Options that several commands take, as one parameter: a dataclass, whose fields are the options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer reads it: each parameter of a dataclass type is replaced by the fields of that dataclass.

    Names, annotations and defaults of the fields mean what they mean in a command's own signature.
    """
    signature = inspect.signature(command, eval_str=True)
    kinds: dict[str, Any] = {
        each.name: each.annotation for each in signature.parameters.values() if is_dataclass(each.annotation)
    }
    seen: list[inspect.Parameter] = []
    for each in signature.parameters.values():
        seen += inspect.signature(kinds[each.name], eval_str=True).parameters.values() if each.name in kinds else [each]

    @wraps(command)
    def called(**given: Any) -> None:
        groups = {
            name: kind(**{option.name: given.pop(option.name) for option in fields(kind)})
            for name, kind in kinds.items()
        }
        command(**given, **groups)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in seen]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called
