"""What Label Studio sends to a backend, checked; fields that we have no use for are passed over."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MOST_TASKS = 30_000  # in one request

Text = Annotated[str, Field(max_length=2**21)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Setup(_Body):
    """``project``: its id and when it was made, as in 7.1795334111."""

    project: Annotated[str, Field(max_length=100)] = ""
    label_config: Annotated[Text, Field(alias="schema")] = ""
    hostname: Annotated[str, Field(max_length=2000)] | None = None
    access_token: Annotated[str, Field(max_length=4000)] | None = None


class TaskIn(_Body):
    id: Annotated[int, Field(ge=1, le=2**63 - 1)]
    data: dict[str, Any] = Field(default_factory=dict)


class Params(_Body):
    context: dict[str, Any] | None = None


class Predict(_Body):
    tasks: Annotated[list[TaskIn], Field(max_length=MOST_TASKS)]
    project: Annotated[str, Field(max_length=100)] | None = None
    label_config: Text | None = None
    params: Params | None = None
