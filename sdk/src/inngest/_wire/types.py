"""What JSON can say, as a type."""

from collections.abc import Mapping, Sequence

from typing_extensions import TypeAliasType

JSON = TypeAliasType("JSON", "bool | int | float | str | Mapping[str, JSON] | Sequence[JSON] | None")
"""A JSON value."""
