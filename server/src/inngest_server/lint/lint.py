"""All of it together: sources in, findings out."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from inngest_server.lint.checks.changes import check_changes
from inngest_server.lint.checks.errors import check_errors
from inngest_server.lint.checks.found import Found, Look
from inngest_server.lint.checks.ids import check_ids
from inngest_server.lint.checks.order import check_order
from inngest_server.lint.checks.outside import check_outside
from inngest_server.lint.checks.steps import check_steps
from inngest_server.lint.effects import Effects
from inngest_server.lint.entries import Entry, find_entries
from inngest_server.lint.finding import Finding
from inngest_server.lint.helpers import helpers_of
from inngest_server.lint.project import Project
from inngest_server.lint.rules import BY_CODE
from inngest_server.lint.source import Module, UnreadableError
from inngest_server.lint.unit import Unit

UNITS_MAX = 200
"""Bodies that are looked at for one Inngest function; helpers that hand `ctx` to each other may be many."""

CHECKS: tuple[Callable[[Look], Iterator[Found]], ...] = (
    check_outside,
    check_order,
    check_ids,
    check_steps,
    check_errors,
    check_changes,
)


@dataclass(slots=True)
class Result:
    """What was found in some files."""

    findings: list[Finding] = field(default_factory=list[Finding])
    """By file, in the order in which the files were given, then by place."""
    files: int = 0
    functions: int = 0
    """Inngest functions that were looked at."""
    suppressed: int = 0
    """Findings that a comment in the source suppresses."""


def lint(sources: Mapping[str, str], codes: Iterable[str]) -> Result:
    """Look for mistakes in files, by path with their text; `codes` are those of the rules to look for."""
    wanted = frozenset(codes)
    result = Result(files=len(sources))
    modules: list[Module] = []
    for path, text in sources.items():
        try:
            modules.append(Module(path, text))
        except UnreadableError as error:
            result.findings.append(_unreadable(path, error))
    project = Project(modules)
    effects = Effects(project)
    entries = find_entries(project)
    result.functions = len(entries)
    found: dict[tuple[Module, ast.AST, str], tuple[Found, str]] = {}
    for entry in entries:
        # A helper of several functions is told once, for the first of them.
        for module, one in _found_in(project, effects, entry):
            found.setdefault((module, one.node, one.code), (one, entry.name))
    for (module, _, code), (one, function) in found.items():
        finding = _finding(module, one, function)
        if code not in wanted:
            continue
        if _is_suppressed(module, one):
            result.suppressed += 1
        else:
            result.findings.append(finding)
    order = {path: number for number, path in enumerate(sources)}
    result.findings = [one for one in result.findings if one.code in wanted]
    result.findings.sort(key=lambda one: (order[one.path], one.line, one.column, one.code))
    return result


def _found_in(project: Project, effects: Effects, entry: Entry) -> list[tuple[Module, Found]]:
    """All that is wrong with one Inngest function, by the file in which it stands."""
    try:
        units = _units(project, entry)
        return [(unit.module, one) for unit in units for one in _checked(unit, effects)]
    except RecursionError:
        message = "this function has an expression that is nested too deeply to be looked at"
        return [(entry.module, Found(entry.node, "ING000", message, "take it apart"))]


def _units(project: Project, entry: Entry) -> list[Unit]:
    """The body of an Inngest function and of all helpers that have its `ctx` or `step`; none without a step.

    A function without steps is executed as a whole, so there is nothing that its next call could miss.
    """
    first = Unit(
        project, entry.module, entry.node, roles=_roles(entry), owner=entry.owner, client=entry.client
    )
    units = [first]
    seen: set[object] = {(entry.node, None)}
    for unit in units:  # Grows while it is read.
        for helper in helpers_of(unit):
            key = (helper.node, helper.repeats is not None)
            if key not in seen and len(units) < UNITS_MAX and (helper.node, None) not in seen:
                seen.add(key)
                units.append(helper)
    return units if any(unit.steps for unit in units) else []


def _roles(entry: Entry) -> dict[str, str]:
    """`(ctx)`, or `(ctx, step)` of older applications."""
    positional = [*entry.node.args.posonlyargs, *entry.node.args.args]
    names = [one.arg for one in positional if one.arg not in ("self", "cls")]
    return dict(zip(names, ("ctx", "step"), strict=False))


def _checked(unit: Unit, effects: Effects) -> Iterator[Found]:
    look = Look(unit, effects)
    for check in CHECKS:
        yield from check(look)


def _finding(module: Module, found: Found, function: str) -> Finding:
    node = found.node
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    end_line, end_column = getattr(node, "end_lineno", line), getattr(node, "end_col_offset", column)
    if isinstance(node, ast.ExceptHandler):
        end_line, end_column = line, column + len("except")
    # The parser counts bytes, people count characters.
    return Finding(
        module.path,
        line,
        _characters(module, line, column) + 1,
        end_line,
        _characters(module, end_line, end_column) + 1,
        found.code,
        found.message,
        found.fix,
        function,
    )


def _characters(module: Module, line: int, column: int) -> int:
    if line > len(module.lines):
        return column
    return len(module.lines[line - 1].encode()[:column].decode(errors="replace"))


def _is_suppressed(module: Module, found: Found) -> bool:
    """By a comment on the first or last line of what was found, or on the first of its statement."""
    first = getattr(found.node, "lineno", 1)
    last = first if isinstance(found.node, ast.ExceptHandler) else getattr(found.node, "end_lineno", first)
    statement = getattr(module.statement_of(found.node), "lineno", first)
    return module.is_suppressed(found.code, BY_CODE[found.code].name, (first, last, statement))


def _unreadable(path: str, error: UnreadableError) -> Finding:
    line, column = max(error.line, 1), max(error.column, 1)
    message = f"this is no Python that can be read: {error}"
    return Finding(path, line, column, line, column + 1, "ING000", message, BY_CODE["ING000"].fix, "")
