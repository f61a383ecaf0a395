"""Imports point one way, and the core does no I/O and reads no clock.

Every module belongs to a *room* (a package or module directly under a distribution) and every room to a
layer. A module may import from lower layers, and from rooms of its own layer as long as no ring of
rooms comes of it. `protocol.py` files, `storage/records.py` and `scheduling/cron.py` are rooms of their
own: everybody may depend on the contract, few on what fulfils it.

The core (`CORE`) is what must give the same result for the same arguments, so it may not even import
what waits, reads a clock, draws a random number, logs or reaches a database.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"inngest_server": ROOT / "server" / "src", "inngest": ROOT / "sdk" / "src"}

# From the bottom up; a room may import its own layer and those before it. A new room gets its place here.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "errors", "ids", "scheduling.cron", "wire"),
    ("apps", "events", "flow_control", "jobs", "runs"),
    ("protocol", "storage", "storage.records", "explain", "lint", "traces"),
    ("clock", "settings"),
    ("backend",),
    ("api", "connect", "engine", "execution", "observability", "realtime", "scheduling", "ui"),
    ("app",),
    ("__main__", "cli", "testing"),
)
LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}

CORE = {
    "inngest_server": {*LAYERS[0], *LAYERS[1], *LAYERS[2]} - {"__init__"},
    "inngest": {"_engine", "_wire", "protocol"},
}

# By what a module would be doing with it; names under these are forbidden too.
FORBIDDEN_IMPORTS_IN_CORE: dict[str, tuple[str, ...]] = {
    "wait": ("anyio", "asyncio", "concurrent", "queue", "sched", "select", "selectors", "trio", "uvloop"),
    "share state between threads": ("contextvars", "multiprocessing", "threading"),
    "read a clock": ("time",),
    "draw chance": (
        "random",
        "secrets",
        "uuid.getnode",
        "uuid.uuid1",
        "uuid.uuid4",
        "uuid.uuid6",
        "uuid.uuid7",
    ),
    "log": ("logging", "opentelemetry", "prometheus_client", "structlog"),
    "reach the network": (
        "aiohappyeyeballs",
        "aiohttp",
        "http.client",
        "httpx",
        "socket",
        "ssl",
        "urllib.request",
        "websockets",
    ),
    "serve": ("http.server", "socketserver", "starlette", "uvicorn"),
    "reach a database": ("asyncpg", "redis", "sqlite3"),
    "reach the system": (
        "ctypes",
        "importlib",
        "os",
        "pathlib",
        "shutil",
        "signal",
        "subprocess",
        "tempfile",
    ),
}
FORBIDDEN_NAMES_IN_CORE: dict[str, tuple[str, ...]] = {
    "read a clock": (
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
    ),
    "draw chance": ("uuid.getnode", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"),
    "do I/O": ("open", "print"),
}


@dataclass(frozen=True)
class Module:
    """One source file, under the name by which it is imported."""

    name: str
    source: str
    is_package: bool = False

    @property
    def distribution(self) -> str:
        return self.name.partition(".")[0]

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """A name that a module imports, in full: `inngest_server.runs.decide.decide`."""

    name: str
    line: int


def modules_of(distribution: str) -> list[Module]:
    source_root = SOURCES[distribution]
    modules: list[Module] = []
    for path in sorted((source_root / distribution).rglob("*.py")):
        parts = path.relative_to(source_root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return modules


def imports_of(module: Module) -> Iterator[Import]:
    """Everything the module imports, inside functions and for type checking too."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute_origin(module, node)
            for alias in node.names:
                yield Import(f"{origin}.{alias.name}", node.lineno)


def absolute_origin(module: Module, node: ast.ImportFrom) -> str:
    """What stands between `from` and `import`, with leading dots resolved."""
    if node.level == 0:
        return node.module or ""
    parts = module.package.split(".")
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)


def is_or_is_under(name: str, ancestors: Iterable[str]) -> bool:
    return any(name == ancestor or name.startswith(f"{ancestor}.") for ancestor in ancestors)


def room_of(name: str) -> str:
    """The room of a module, or of a name imported from it; `""` for a place without a layer.

    Contracts are named for what they are (`connect.protocol` becomes `protocol of connect`).
    """
    _, *inner = name.split(".")
    match inner:
        case []:
            return "__init__"
        case [room, "protocol", *_]:
            return f"protocol of {room}"
        case ["storage"] | ["storage", "records", *_]:
            return ".".join(inner[:2])
        case ["scheduling", "cron", *_]:
            return "scheduling.cron"
        case ["storage", backend, *_] if backend.islower():
            return f"backend {backend}"
        case [room, *_] if room in LAYER_OF or name.startswith("inngest."):
            return room
        case [exported] if not exported.islower() or exported.startswith("__"):
            return "__init__"  # `from inngest_server import __version__`
        case _:
            return ""


def layer_of(room: str) -> int:
    return LAYER_OF[room.partition(" ")[0]]


def may_import(here: str, there: str) -> bool:
    """Whether the arrows allow it: downward, or sideways; a storage backend only from above all shells."""
    if there.startswith("backend") and not here.startswith("backend"):
        return layer_of(here) >= LAYER_OF["app"]
    return layer_of(there) <= layer_of(here)


def layer_violations(modules: Iterable[Module]) -> list[str]:
    """Every import of the server against the arrows, and every ring of rooms within one layer."""
    found: list[str] = []
    sideways: dict[str, set[str]] = {}
    for module in modules:
        here = room_of(module.name)
        if not here:
            found.append(f"{module.name}: has no layer; give its room a place in LAYERS")
            continue
        for imported in imports_of(module):
            if not is_or_is_under(imported.name, [module.distribution]):
                continue
            there = room_of(imported.name)
            if not there:
                found.append(f"{module.name}:{imported.line}: {imported.name} has no layer")
            elif not may_import(here, there):
                at = f"{module.name}:{imported.line}"
                found.append(f"{at}: {here} may not import {there} ({imported.name})")
            elif there != here and layer_of(there) == layer_of(here):
                sideways.setdefault(here, set()).add(there)
    return found + [f"rooms import each other in a ring: {' -> '.join(ring)}" for ring in rings(sideways)]


def rings(arrows: dict[str, set[str]]) -> list[list[str]]:
    """One ring for each room that can reach itself, shortest first found, named once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in sorted(arrows):
        paths = [[start]]
        seen: set[str] = set()
        while paths:
            path = paths.pop(0)
            for following in sorted(arrows.get(path[-1], ())):
                if following == start:
                    found.setdefault(frozenset(path), [*path, start])
                elif following not in seen:
                    seen.add(following)
                    paths.append([*path, following])
    return list(found.values())


def is_core(module: Module) -> bool:
    room = room_of(module.name).partition(" ")[0]
    return room in CORE[module.distribution] or module.name.endswith(".protocol")


def core_violations(module: Module) -> list[str]:
    """Imports and calls by which a core module would wait, read a clock, draw chance or do I/O."""
    found = [
        f"{module.name}:{imported.line}: the core may not {deed} ({imported.name})"
        for imported in imports_of(module)
        for deed, names in FORBIDDEN_IMPORTS_IN_CORE.items()
        if is_or_is_under(imported.name, names)
    ]
    found += [
        f"{module.name}:{line}: the core may not {deed} ({name})"
        for name, line in used_names(module)
        for deed, names in FORBIDDEN_NAMES_IN_CORE.items()
        if name in names
    ]
    return found


def entrance_violations(modules: Sequence[Module]) -> list[str]:
    """Imports in the `__init__` of a package that the core imports through: they would come along."""
    entrances = {module.package for module in modules if is_core(module) and not module.is_package}
    return [
        f"{module.name}:{imported.line}: comes along with the core inside, so may import nothing"
        for module in modules
        if module.is_package and module.name in entrances and not is_core(module)
        for imported in imports_of(module)
    ]


def used_names(module: Module) -> Iterator[tuple[str, int]]:
    """Dotted names that the module reads, with its own import aliases spelled out.

    Reading is enough: `field(default_factory=datetime.now)` reads the clock as well as a call does.
    """
    tree = ast.parse(module.source)
    full_names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full_names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            full_names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            head, dot, rest = dotted(node).partition(".")
            yield full_names.get(head, head) + dot + rest, node.lineno


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def distribution_violations(module: Module) -> list[str]:
    others = SOURCES.keys() - {module.distribution}
    return [
        f"{module.name}:{imported.line}: {module.distribution} may not import {imported.name}"
        for imported in imports_of(module)
        if is_or_is_under(imported.name, others)
    ]


# ---- the repository -----------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", SOURCES)
def test_every_source_file_is_read(distribution: str) -> None:
    assert distribution in {module.name for module in modules_of(distribution)}


def test_imports_point_one_way() -> None:
    assert layer_violations(modules_of("inngest_server")) == []


@pytest.mark.parametrize("distribution", SOURCES)
def test_the_core_does_no_io_and_reads_no_clock(distribution: str) -> None:
    core = [module for module in modules_of(distribution) if is_core(module)]
    assert [line for module in core for line in core_violations(module)] == []


@pytest.mark.parametrize("distribution", SOURCES)
def test_the_core_is_entered_without_the_shells_around_it(distribution: str) -> None:
    assert entrance_violations(modules_of(distribution)) == []


@pytest.mark.parametrize("distribution", SOURCES)
def test_sdk_and_server_never_import_each_other(distribution: str) -> None:
    modules = modules_of(distribution)
    assert [line for module in modules for line in distribution_violations(module)] == []


# ---- the checker itself -------------------------------------------------------------------------


def module(name: str, source: str, *, is_package: bool = False) -> Module:
    return Module(f"inngest_server.{name}", source, is_package)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli.main", "from inngest_server.app import serve"),
        ("app", "from inngest_server.storage.sqlite import SqliteStorage"),
        ("app", "from inngest_server import api, clock, engine, execution, scheduling"),
        ("api.events", "from inngest_server.engine.shard import Shard"),
        ("api.events", "from ..storage.protocol import Storage"),
        ("api.events", "from inngest_server.observability import log"),
        ("engine.shard", "from inngest_server.clock import Clock"),
        ("engine.shard", "from inngest_server.execution.protocol import Driver"),
        ("engine.shard", "from inngest_server import __version__"),
        ("storage.sqlite.writer", "from ..protocol import Batch\nfrom ..records import Item"),
        ("storage.sqlite.writer", "from inngest_server.clock import Clock"),
        ("storage.protocol", "from inngest_server.runs.run import Run"),
        ("storage.records", "from inngest_server.scheduling.cron import next_slot"),
        ("runs.decide", "from inngest_server.wire import opcodes"),
        ("runs.decide", "from inngest_server.events.match import matches"),
        ("runs.decide", "import datetime, json, re2"),
        ("apps.config", "from inngest_server.scheduling.cron import InvalidCronError"),
        ("testing.plugin", "from inngest_server.app import serve"),
    ],
)
def test_an_import_that_follows_the_arrows_is_allowed(name: str, source: str) -> None:
    assert layer_violations([module(name, source)]) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("app", "from inngest_server.cli import main"),
        ("api.events", "from inngest_server.app import serve"),
        ("api.events", "from inngest_server.storage.sqlite import SqliteStorage"),
        ("api.events", "import inngest_server.storage.sqlite"),
        ("api.events", "from inngest_server.storage import memory"),
        ("api.events", "from ..app import serve"),
        ("api.events", "def f():\n    from inngest_server.app import serve"),
        ("api.events", "import typing\nif typing.TYPE_CHECKING:\n    from inngest_server import app"),
        ("engine.shard", "from .. import cli"),
        ("storage.protocol", "from inngest_server.engine.shard import Shard"),
        ("storage.protocol", "from .sqlite import SqliteStorage"),
        ("storage.protocol", "from inngest_server.clock import Clock"),
        ("storage", "from .sqlite import SqliteStorage"),
        ("storage.sqlite", "from inngest_server.engine.shard import Shard"),
        ("execution.protocol", "from .http import HttpDriver"),
        ("scheduling.cron", "from .timers import TimerLoop"),
        ("runs.decide", "from inngest_server.storage.records import Timer"),
        ("runs.opcodes.sleep", "from ...engine import shard"),
        ("wire.headers", "from inngest_server.apps import App"),
        ("api.events", "from inngest_server.somewhere import thing"),
        ("somewhere", ""),
    ],
)
def test_an_import_against_the_arrows_is_found(name: str, source: str) -> None:
    is_package = name in {"storage"}
    assert len(layer_violations([module(name, source, is_package=is_package)])) == 1


def test_a_ring_of_rooms_in_one_layer_is_found_once() -> None:
    ring = [
        module("api.events", "from inngest_server.engine import shard"),
        module("engine.shard", "from inngest_server.execution import http"),
        module("execution.http", "from inngest_server.api import errors"),
    ]

    assert layer_violations(ring) == [
        "rooms import each other in a ring: api -> engine -> execution -> api",
    ]
    assert layer_violations(ring[:2]) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os.path",
        "from os import environ",
        "import time as clock",
        "from time import monotonic",
        "import random, json",
        "from urllib.request import urlopen",
        "from uuid import uuid4",
        "import structlog",
        "def f():\n    import sqlite3",
        "import uuid\nx = uuid.uuid4()",
        "import uuid as u\nx = u.uuid4",
        "from datetime import datetime\nx = datetime.now()",
        "from datetime import UTC, datetime as dt\nx = dt.now(UTC)",
        "import datetime\nx = datetime.datetime.utcnow()",
        "import datetime as d\nx = d.date.today()",
        "from datetime import datetime\nx = field(default_factory=datetime.now)",
        "print('here')",
        "open('file')",
    ],
)
def test_what_the_core_may_not_do_is_found(source: str) -> None:
    assert len(core_violations(module("runs.decide", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime, timedelta\nx = datetime(2026, 1, 1, tzinfo=UTC)",
        "from datetime import datetime\nx = datetime.fromisoformat(text)",
        "from uuid import UUID, uuid5",
        "import hashlib, hmac, json, re",
        "from zoneinfo import ZoneInfo",
        "from urllib.parse import urlsplit",
        "from .timekeeping import time, now",
        "x = clock.now()",
        "x = timer.open()",
    ],
)
def test_what_the_core_may_do_is_let_through(source: str) -> None:
    assert core_violations(module("runs.decide", source)) == []


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("inngest_server.runs.opcodes.sleep", True),
        ("inngest_server.events.expressions.parser", True),
        ("inngest_server.flow_control.throttle", True),
        ("inngest_server.wire", True),
        ("inngest_server.scheduling.cron", True),
        ("inngest_server.storage.protocol", True),
        ("inngest_server.storage.records", True),
        ("inngest_server.connect.protocol", True),
        ("inngest_server.storage.redis.protocol", True),
        ("inngest._engine.planning", True),
        ("inngest.connect.protocol", True),
        ("inngest_server", False),
        ("inngest_server.clock", False),
        ("inngest_server.scheduling.timers", False),
        ("inngest_server.storage.sqlite.writer", False),
        ("inngest_server.connect.gateway", False),
        ("inngest", False),
        ("inngest.client", False),
    ],
)
def test_the_core_is_what_the_house_rules_name(name: str, core: bool) -> None:
    assert is_core(Module(name, "")) is core


def test_a_shell_that_comes_along_with_the_core_is_found() -> None:
    cron = module("scheduling.cron", "")
    loops = module("scheduling", "from .timers import TimerLoop", is_package=True)

    assert len(entrance_violations([cron, loops])) == 1
    assert entrance_violations([cron, module("scheduling", "", is_package=True)]) == []
    assert entrance_violations([loops]) == []


def test_sdk_and_server_importing_each_other_is_found() -> None:
    assert len(distribution_violations(Module("inngest.client", "from inngest_server.wire import x"))) == 1
    assert len(distribution_violations(Module("inngest_server.app", "import inngest"))) == 1
    assert distribution_violations(Module("inngest_server.app", "import inngest_server.api")) == []
