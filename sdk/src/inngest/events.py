"""Events: what is sent, and what functions receive.

The rest of the package imports this module when the first event is made, not before: Pydantic takes longer to
import than everything else together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictInt, ValidationError

from .errors import EventInvalidError
from .middleware import SendEventsResult

__all__ = ["Event", "SendEventsResult"]

M = TypeVar("M", bound=BaseModel)


def _or_empty(value: object) -> object:
    return {} if value is None else value


class Event(BaseModel):
    """One event.

    `id` makes sending repeatable: a second event of the same id within 24 hours starts nothing; `""` lets the
    server choose. `ts` is in milliseconds since 1970; 0 means the moment of receipt. Further fields of the
    wire (`v`, the version of the data's schema, and `user`) may be given, and are sent.

    A subclass may type `data` with a model of its own.

    Raises:
        pydantic.ValidationError: a field has the wrong type.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    data: Annotated[Mapping[str, Any], BeforeValidator(_or_empty)] = {}
    id: str = ""
    ts: StrictInt = 0

    @property
    def v(self) -> str | None:
        """Version of the data's schema."""
        return (self.model_extra or {}).get("v")

    @property
    def user(self) -> Mapping[str, Any]:
        """An object that only the wire still knows; empty when the sender gave none."""
        return (self.model_extra or {}).get("user") or {}

    def data_as(self, model: type[M]) -> M:
        """The data as a Pydantic model; raises `pydantic.ValidationError` when it is something else."""
        return model.model_validate(self.data)

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        """The event in a decoded JSON object; null counts as unset, keys that no event has are ignored.

        Raises:
            EventInvalidError: it is no object, has no name, or a field has the wrong type.
        """
        if isinstance(raw, cls):
            return raw
        if isinstance(raw, Event):
            raw = raw.to_dict()
        if not isinstance(raw, Mapping):
            raise EventInvalidError(f"an event is an object with a name and data, not {_kind(raw)}")
        given = cast("Mapping[str, Any]", raw)
        fields = {key: given[key] for key in _FIELDS if given.get(key) is not None}
        if not fields.get("user"):
            fields.pop("user", None)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r:.100}"
                for one in error.errors(include_url=False, include_context=False)
            )
            raise EventInvalidError(f"this is no event: {'; '.join(problems)}") from error

    def to_dict(self) -> dict[str, Any]:
        """The event as the event API takes it (protocol 1.4): unset fields are left out."""
        data: object = self.data
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            data = self.model_dump(mode="json")["data"]  # A subclass with a model of its own.
        fields = {"name": self.name, "data": data, "id": self.id, "ts": self.ts, **(self.model_extra or {})}
        return {key: value for key, value in fields.items() if value or key in ("name", "data")}


_FIELDS = ("name", "data", "id", "ts", "v", "user")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
