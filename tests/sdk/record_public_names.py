"""Write down the public names of the SDK that is installed: module, name, parameters.

`public_names.json` was made by this program in an environment with the official SDK 0.5.19 and the
frameworks that it serves; names and signatures are facts, and nothing else is recorded.

    python tests/sdk/record_public_names.py > tests/sdk/public_names.json
"""

import enum
import importlib
import inspect
import json
import sys
from types import ModuleType
from typing import Any

MODULES = (
    "inngest",
    "inngest.connect",
    "inngest.digital_ocean",
    "inngest.django",
    "inngest.fast_api",
    "inngest.flask",
    "inngest.tornado",
    "inngest.experimental",
    "inngest.experimental.ai",
    "inngest.experimental.ai.anthropic",
    "inngest.experimental.ai.base",
    "inngest.experimental.ai.deepseek",
    "inngest.experimental.ai.gemini",
    "inngest.experimental.ai.grok",
    "inngest.experimental.ai.openai",
    "inngest.experimental.dev_server",
    "inngest.experimental.digital_ocean_simulator",
    "inngest.experimental.mocked",
    "inngest.experimental.realtime",
    "inngest.experimental.remote_state_middleware",
    "inngest.experimental.sentry_middleware",
)
# What any object, exception, tuple, enumeration or Pydantic model has is not the SDK's own.
FOREIGN = ("builtins", "enum", "typing", "abc", "pydantic", "dataclasses")

Parameter = dict[str, Any]


def parameters_of(function: Any) -> list[Parameter] | None:
    """Name, kind and whether it may be left out; None where Python knows no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return [
        {
            "name": parameter.name,
            "kind": parameter.kind.name.lower(),
            "optional": parameter.default is not parameter.empty,
        }
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls", "__pydantic_self__")
    ]


def members_of(cls: type[Any]) -> dict[str, Any]:
    """Public methods with their parameters, other attributes with None."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in FOREIGN:
            continue
        names = {*vars(base), *getattr(base, "__annotations__", {})}
        for name in sorted(name for name in names if not name.startswith("_")):
            value = inspect.getattr_static(cls, name, None)
            callable_value = getattr(cls, name, None)
            is_method = isinstance(value, (staticmethod, classmethod)) or inspect.isfunction(value)
            found[name] = parameters_of(callable_value) if is_method else None
    return {name: found[name] for name in sorted(found) if not is_pydantic(name) or name == "serialize"}


def is_pydantic(name: str) -> bool:
    """A hook of the model library in a model that uses it."""
    return name.startswith(("model_", "serialize_", "convert_validation_error"))


def describe(value: Any) -> dict[str, Any]:
    if inspect.isclass(value):
        is_made_by_users = not issubclass(value, enum.Enum) and not getattr(value, "_is_protocol", False)
        parameters = parameters_of(value) if is_made_by_users else None
        return {"kind": "class", "parameters": parameters, "members": members_of(value)}
    if inspect.ismodule(value):
        return {"kind": "module"}
    if inspect.isroutine(value):
        return {"kind": "function", "parameters": parameters_of(value)}
    members = {
        name: parameters_of(member) if callable(member := getattr(value, name)) else None
        for name in sorted(dir(value))
        if not name.startswith("_")
    }
    return {"kind": "value", "members": members}


def names_of(module: ModuleType) -> list[str]:
    """`__all__`; in a module without one, what it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def record() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        found[name] = {one: describe(getattr(module, one)) for one in names_of(module)}
    return found


if __name__ == "__main__":
    json.dump(record(), sys.stdout, indent=1, sort_keys=True)
    print()
