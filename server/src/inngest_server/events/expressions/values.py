"""The values expressions compute with: JSON values, and a few kinds that JSON does not have."""

from typing import Any, Final, NamedTuple, final

from .errors import EvaluationError, WorkLimitError
from .limits import WORK_STEPS_MAX


@final
class Unknown:
    """The value of an attribute that is not there; only `UNKNOWN` exists."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


class Timestamp(NamedTuple):
    """A moment, in nanoseconds since 1970 UTC; years 1 to 9999."""

    ns: int


class Duration(NamedTuple):
    """A length of time, in nanoseconds."""

    ns: int


class TypeName(NamedTuple):
    """What `type(x)` gives, and what a bare `int` or `string` names."""

    name: str


class Frame:
    """What one evaluation carries along: the time, the work that is left, and macro variables.

    The defaults are class attributes so that making one costs next to nothing: most expressions
    never spend work and have no macro.
    """

    now_ms: int = 0
    steps_left: int = WORK_STEPS_MAX
    variables: list[Any]

    def spend(self, steps: int) -> None:
        """Take `steps` from the work that is left.

        Raises:
            WorkLimitError: there is not that much left.
        """
        self.steps_left -= steps
        if self.steps_left < 0:
            raise WorkLimitError(WORK_STEPS_MAX)


_KINDS: Final[dict[type[Any], str]] = {
    Unknown: "a missing value",
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    bytes: "bytes",
    list: "a list",
    dict: "an object",
    Timestamp: "a timestamp",
    Duration: "a duration",
    TypeName: "a type",
}

_TYPE_NAMES: Final[dict[type[Any], str]] = {
    Unknown: "null_type",
    type(None): "null_type",
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeName: "type",
}

# Names that stand for a type when they are not called.
TYPE_CONSTANTS: Final[dict[str, TypeName]] = {
    name: TypeName(name)
    for name in ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type")
}


def kind(value: Any) -> str:
    """What a message calls a value: `a number`, `text`, `a missing value`."""
    return _KINDS.get(value.__class__, "an unsupported value")


def type_of(value: Any) -> TypeName:
    """The CEL type of a value, as `type(x)` gives it; `uint` values are `int` here."""
    return TypeName(_TYPE_NAMES.get(value.__class__, "dyn"))


def mismatch(what: str, *values: Any) -> EvaluationError:
    """The error of an operation that does not exist for such values."""
    kinds = " and ".join(kind(value) for value in values)
    return EvaluationError("type_mismatch", f"{what} cannot be used on {kinds}")
