"""How results of steps and functions become JSON, and typed values again."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["PydanticSerializer", "Serializer"]


@runtime_checkable
class Serializer(Protocol):
    """Translates results whose type was given as `output_type`; without one, results stay as they are."""

    def serialize(self, obj: object, typ: object) -> object:
        """The JSON value (dict, list, str, number, bool, None) of `obj`, which is of type `typ`."""
        ...

    def deserialize(self, obj: object, typ: object) -> object:
        """The value of type `typ` in the JSON value `obj`."""
        ...


class PydanticSerializer:
    """Whatever Pydantic has a schema for: models, dataclasses, lists and unions of them, datetimes."""

    def serialize(self, obj: object, typ: object) -> object:
        """The JSON value of `obj`.

        Raises:
            pydantic.ValidationError: `obj` is not of type `typ`.
        """
        adapter = _adapter(typ)
        return adapter.dump_python(adapter.validate_python(obj), mode="json")

    def deserialize(self, obj: object, typ: object) -> object:
        """The value of type `typ` in the JSON value `obj`.

        Raises:
            pydantic.ValidationError: `obj` does not describe one.
        """
        return _adapter(typ).validate_python(obj)


def _adapter(typ: object) -> TypeAdapter[Any]:
    try:
        return _kept_adapter(typ)
    except TypeError:  # A type that cannot be hashed, such as Annotated with a list.
        return _new_adapter(typ)


def _new_adapter(typ: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(typ)


# Building the schema of a type costs a thousand times what using it costs.
_kept_adapter = lru_cache(maxsize=256)(_new_adapter)
