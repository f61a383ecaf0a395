"""Every public name of the official SDK 0.5.19 is one of ours, and takes the same arguments.

The list beside this file was recorded by `record_public_names.py`; it holds names only.
"""

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import inngest

Parameter = dict[str, Any]
NAMES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("public_names.json").read_text())
# Objects of these classes are given to users, who never make one.
GIVEN = {"Context", "ContextSync", "Function", "Step", "StepSync"}
# How the official engine calls itself, on classes that are public for other reasons; hooks get their argument
# by position.
ENGINE = {"Function.call", "Function.call_sync", "SentryMiddleware.transform_output"}
# Conversions of its models of options, which become part of the wire inside of the SDK.
CONVERSIONS = {"from_raw", "to_dict"}
MODELS = {"Event", "StepMemos"}
"""Those that middleware handles."""

CASES = [
    pytest.param(module, name, described, id=f"{module}.{name}")
    for module, names in NAMES.items()
    for name, described in names.items()
]
MEMBERS = [
    pytest.param(module, name, member, parameters, id=f"{module}.{name}.{member}")
    for module, names in NAMES.items()
    for name, described in names.items()
    for member, parameters in described.get("members", {}).items()
    if f"{name}.{member}" not in ENGINE and (member not in CONVERSIONS or name in MODELS)
]


CLIENT = inngest.Inngest(app_id="names", is_production=False)
INSTANCES = {
    "Inngest": CLIENT,
    "Function": CLIENT.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="a"))(lambda ctx: None),
    "NonRetriableError": inngest.NonRetriableError("no"),
    "RetryAfterError": inngest.RetryAfterError("later", 1000),
}
"""Of classes that set attributes when an object is made."""


def get(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def refusals(ours: Any, wanted: list[Parameter] | None) -> list[str]:
    """Which arguments of a call that the official SDK accepts ours would refuse, one sentence each."""
    if wanted is None:
        return []
    parameters = inspect.signature(ours).parameters
    takes_any_name = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    positional = [
        one for one in parameters.values() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    found: list[str] = []
    for index, one in enumerate(wanted):
        name, mine = one["name"], parameters.get(one["name"])
        if one["kind"] in ("var_positional", "var_keyword"):
            continue
        if mine is None and not takes_any_name:
            found.append(f"{name} is not a parameter")
        if mine is None:
            continue
        if one["optional"] and mine.default is mine.empty:
            found.append(f"{name} is required")
        if one["kind"] == "positional_or_keyword" and (
            index >= len(positional) or positional[index].name != name
        ):
            found.append(f"{name} is not the positional argument {index}")
        if one["kind"] != "positional_only" and mine.kind is mine.POSITIONAL_ONLY:
            found.append(f"{name} cannot be given by name")
    official = {one["name"] for one in wanted}
    found += [
        f"{one.name} is required, which the official SDK does not know"
        for one in parameters.values()
        if one.name not in official
        and one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    return found


@pytest.mark.parametrize(("module", "name", "described"), CASES)
def test_a_public_name_imports_and_takes_the_same_arguments(
    module: str, name: str, described: dict[str, Any]
) -> None:
    ours = get(module, name)
    if described["kind"] == "class":
        assert inspect.isclass(ours)
    if described["kind"] == "module":
        assert inspect.ismodule(ours)
    if described["kind"] in ("class", "function") and name not in GIVEN:
        assert refusals(ours, described["parameters"]) == []


@pytest.mark.parametrize(("module", "name", "member", "parameters"), MEMBERS)
def test_a_member_is_there_and_takes_the_same_arguments(
    module: str, name: str, member: str, parameters: list[Parameter] | None
) -> None:
    ours = get(module, name)
    annotated = {one for base in getattr(ours, "__mro__", ()) for one in inspect.get_annotations(base)}
    if parameters is not None:
        assert refusals(bound(ours, member), parameters) == []
    elif member not in annotated:
        assert hasattr(INSTANCES.get(name, ours), member)


def bound(owner: Any, member: str) -> Any:
    """The member as its caller sees it: without `self`."""
    value = getattr(owner, member)
    is_plain = inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, member))
    return value.__get__(object()) if is_plain else value


@pytest.mark.parametrize("name", ["Trigger", "SyncStep", "errors"])
def test_a_name_that_only_the_documentation_uses_imports(name: str) -> None:
    assert hasattr(get("inngest", name), "__name__")


def test_refusals_sees_what_a_caller_would_meet() -> None:
    """The comparison itself: it must be able to fail."""

    def ours(one: int, *, two: int, three: int = 3, extra: int) -> None: ...

    def official(kind: str, name: str, *, optional: bool = False) -> Parameter:
        return {"name": name, "kind": kind, "optional": optional}

    assert refusals(ours, [official("positional_or_keyword", "one"), official("keyword_only", "two")]) == [
        "extra is required, which the official SDK does not know"
    ]
    assert refusals(ours, [official("keyword_only", name) for name in ("one", "two", "four", "extra")]) == [
        "four is not a parameter"
    ]
    assert "two is required" in refusals(ours, [official("keyword_only", "two", optional=True)])
    assert "two is not the positional argument 0" in refusals(
        ours, [official("positional_or_keyword", "two")]
    )
