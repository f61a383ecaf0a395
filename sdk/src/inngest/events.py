"""Events: what is sent, and what functions receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from .errors import EventInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_SETS = frozenset[str]()


class Event:
    """One event.

    `id` makes sending repeatable: a second event of the same id within 24 hours starts nothing; `""` lets the
    server choose. `ts` is in milliseconds since 1970; 0 means the moment of receipt. `v` is the version of
    the data's schema, `user` an object that only the wire still knows.

    Behaves like a Pydantic model (`model_dump`, `model_validate`, usable as a field) without being one, so
    that importing this package does not import Pydantic.

    Raises:
        EventInvalidError: a field has the wrong type.
    """

    __slots__ = ("data", "id", "name", "ts", "user", "v")

    def __init__(
        self,
        *,
        name: str,
        data: Mapping[str, Any] | None = None,
        id: str = "",
        ts: int = 0,
        v: str | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        _check("name", name, str)
        if data is not None:
            _check("data", data, Mapping)
        _check("id", id, str)
        _check("ts", ts, int)
        self.name: str = name
        self.data: Mapping[str, Any] = {} if data is None else data
        self.id: str = id
        self.ts: int = ts
        self.v: str | None = v
        self.user: Mapping[str, Any] = {} if user is None else user

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        """The event in a decoded JSON object; keys that no event has are ignored.

        Raises:
            EventInvalidError: it is no object, has no name, or a field has the wrong type.
        """
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise EventInvalidError(f"an event is an object with a name and data, not {_kind(raw)}")
        fields = cast("Mapping[str, Any]", raw)
        if "name" not in fields:
            raise EventInvalidError("an event needs a name")
        return cls(
            name=fields["name"],
            data=fields.get("data"),
            id=_or(fields.get("id"), ""),
            ts=_or(fields.get("ts"), 0),
            v=fields.get("v"),
            user=fields.get("user"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The event as the event API takes it (protocol 1.4): unset fields are left out."""
        return {"name": self.name, "data": self.data, **self._set_fields(with_defaults=False)}

    def _set_fields(self, *, with_defaults: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.id or with_defaults:
            fields["id"] = self.id
        if self.ts or with_defaults:
            fields["ts"] = self.ts
        if self.v is not None:
            fields["v"] = self.v
        if self.user:
            fields["user"] = self.user
        return fields

    # What code that knows events as Pydantic models calls.

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: set[str] | None = None,
        exclude: set[str] | None = None,
        exclude_defaults: bool = False,
        **_: object,
    ) -> dict[str, Any]:
        """Fields as a new dictionary; in mode "json" everything in it has a JSON form.

        `id` and `ts` are present even when unset, `v` and `user` only when set.
        """
        fields = {
            "name": self.name,
            "data": self.data,
            **self._set_fields(with_defaults=not exclude_defaults),
        }
        if mode == "json":
            from ._wire.jsons import to_plain

            fields = to_plain(fields)
        else:
            fields["data"] = dict(self.data)
        return {
            key: value
            for key, value in fields.items()
            if (include is None or key in include) and key not in (exclude or _SETS)
        }

    def model_dump_json(self, **options: Any) -> str:
        from ._wire.jsons import dumps

        options["mode"] = "json"
        return dumps(self.model_dump(**options)).decode()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        import copy

        fields = {name: getattr(self, name) for name in Event.__slots__}
        if deep:
            fields = copy.deepcopy(fields)
        return type(self)(**{**fields, **(update or {})})

    @classmethod
    def model_validate(cls, obj: object, **_: object) -> Self:
        return cls.from_raw(obj)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes, **_: object) -> Self:
        from ._wire.jsons import loads

        return cls.from_raw(loads(json_data))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Callable[[object], object]) -> Any:
        """Lets a Pydantic model have an event as a field."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.from_raw,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda event, info: event.model_dump(mode=info.mode), info_arg=True
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        return {
            "title": "Event",
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "data": {"type": "object"},
                "id": {"type": "string"},
                "ts": {"type": "integer"},
            },
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Event.__slots__)

    __hash__ = None  # type: ignore[assignment]  # Mutable, as a model is.

    def __repr__(self) -> str:
        fields = ", ".join(f"{key}={value!r}" for key, value in self.to_dict().items())
        return f"Event({fields})"


@dataclass(slots=True)
class SendEventsResult:
    """What became of events that were sent; middleware gets it in `after_send_events`.

    `ids` are in the order of the events. With an `error`, they are those of the events taken before it.
    """

    error: str | None = None
    ids: list[str] = field(default_factory=list[str])


def _check(field_name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        wanted = {
            str: "a string",
            int: "an integer (milliseconds since 1970)",
            Mapping: "an object (a dict)",
        }[kind]
        raise EventInvalidError(
            f"the event's {field_name} has to be {wanted}, not {_kind(value)}: {value!r:.100}"
        )


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
