"""Sources with their expected findings: a line that ends in `#! CODE` has that finding, and no other has."""

import re
import textwrap
from collections.abc import Mapping

from inngest_server.lint.lint import lint
from inngest_server.lint.rules import enabled

MARK = re.compile(r"#! (ING\d{3}(?:, ING\d{3})*)")
HEAD = """\
import asyncio, contextlib, datetime, functools, random, secrets, time, uuid
import os, pathlib, shutil, subprocess, sqlite3, httpx, requests, aiohttp
import inngest
import numpy as np
from datetime import UTC, timedelta

client = inngest.Inngest(app_id="shop")

def load(*args): return {}
async def aload(*args): return {}
"""


def in_function(body: str, *, kind: str = "async def", step: bool = True) -> str:
    """A module with one Inngest function. It has a step, or nothing outside steps would count."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    wait = "await " if kind == "async def" else ""
    first = f'    {wait}ctx.step.run("first of all", load)\n' if step else ""
    decorator = '@client.create_function(fn_id="fulfil", trigger=inngest.TriggerEvent(event="a"))'
    return f"{HEAD}\n{decorator}\n{kind} fulfil(ctx):\n{first}{lines}\n"


def expected(sources: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """Path, line and code of every mark."""
    return sorted(
        (path, number, code)
        for path, text in sources.items()
        for number, line in enumerate(text.splitlines(), start=1)
        for match in MARK.finditer(line)
        for code in match[1].split(", ")
    )


def found(sources: Mapping[str, str], *select: str) -> list[tuple[str, int, str]]:
    """The same of what the linter finds, by all its rules unless some are named."""
    result = lint(sources, enabled(select))
    return sorted((one.path, one.line, one.code) for one in result.findings)


def check(source: str, *select: str) -> None:
    """Fail unless exactly what is marked is found."""
    sources = {"app.py": source}
    assert found(sources, *select) == expected(sources), source
