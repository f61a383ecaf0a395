"""A sample of the documentation as a module: what it needs is given to it, then it runs as printed."""

import ast
import asyncio
import datetime
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import pytest

import inngest
from tests.sdk.samples.pages import Sample, catalogue

Edit = Callable[[str], str]
PACKAGE = "src.inngest"
"""Where the pages keep the client of an app."""
KEPT: list[ModuleType] = []
"""Clients are made in them, and live as long as the process."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample, perhaps with a few words changed so that Python can read it."""

    sample: Sample
    text: str
    patch: pytest.MonkeyPatch

    def edited(self, *edits: Edit) -> "Shown":
        """The same with changes, which a test names one by one."""
        text = self.text
        for edit in edits:
            text = edit(text)
        return replace(self, text=text)

    def play(self, **names: object) -> ModuleType:
        """Run the sample, with its top-level `await`s, and give back what it defined.

        It finds `inngest`, a client under both of its usual names, `datetime` and `names` in its globals,
        and the client in `src.inngest.client` too.
        """
        client = names.get("inngest_client") or names.get("client") or inngest.Inngest(app_id="docs")
        self.modules({f"{PACKAGE}.client": {"inngest_client": client}})
        module = ModuleType(f"{PACKAGE}.sample")
        self.patch.setitem(sys.modules, module.__name__, module)
        given = {"inngest": inngest, "client": client, "inngest_client": client, "datetime": datetime}
        vars(module).update({"__package__": PACKAGE, **given, **names})
        code = compile(
            self.text, f"{self.sample.page}:{self.sample.first}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        KEPT.append(module)
        awaited = eval(code, vars(module))
        if asyncio.iscoroutine(awaited):
            asyncio.run(awaited)
        return module

    def modules(self, contents: dict[str, dict[str, object]]) -> None:
        """Modules that the sample imports, by their full names; their packages are made as well."""
        for name, values in contents.items():
            parts = name.split(".")
            for end in range(1, len(parts)):
                package = ".".join(parts[:end])
                if package not in sys.modules:
                    self._put(package, {"__path__": []})
            self._put(name, values)

    def _put(self, name: str, values: dict[str, object]) -> None:
        """In the place of a module of that name, if there is one, until the test ends."""
        module = ModuleType(name)
        vars(module).update(values)
        self.patch.setitem(sys.modules, name, module)


def show(sample_id: str, patch: pytest.MonkeyPatch) -> Shown:
    """The sample, if the page still says what it said."""
    sample = catalogue()[sample_id]
    assert not sample.not_runnable, f"{sample_id} is listed as not runnable: {sample.not_runnable}"
    assert sample.digest_now == sample.digest, (
        f"{sample_id}: lines {sample.first} to {sample.last} of {sample.page} have changed; look at it, "
        f"correct the test, and write {sample.digest_now} into catalogue.csv"
    )
    return Shown(sample, sample.text, patch)


# Edits.


def put(old: str, new: str) -> Edit:
    """Each `old` becomes `new`; it must be there."""

    def edit(text: str) -> str:
        assert old in text, f"the sample has no {old!r}"
        return text.replace(old, new)

    return edit


def body(header: str, *lines: str) -> Edit:
    """Lines for a function whose printed body is empty or a comment, after its header."""

    def edit(text: str) -> str:
        start = text.index(header)
        end = re.compile(r":[ \t]*$", re.MULTILINE).search(text, start)
        assert end is not None, f"the header {header!r} does not end"
        line = text[text.rfind("\n", 0, start) + 1 : start]
        indent = line[: len(line) - len(line.lstrip())] + "    "
        added = "".join(f"\n{indent}{one}" for one in lines or ("pass",))
        return text[: end.end()] + added + text[end.end() :]

    return edit


def without_indent(text: str) -> str:
    """The first line is further left than the rest: move the rest."""
    first, _, rest = text.partition("\n")
    return first + "\n" + textwrap.dedent(rest)


def python_comments(text: str) -> str:
    """`//` begins no comment in Python."""
    return re.sub(r"^(\s*)//", r"\1#", text, flags=re.MULTILINE)


def in_handler(text: str) -> str:
    """Lines that use `ctx` outside of a function become the body of one."""
    return "async def handler(ctx):\n" + textwrap.indent(text, "    ")
