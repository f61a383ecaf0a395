"""The documentation agrees with the code, its links lead somewhere, and its examples can be read."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inngest_server.api import connections, lane, replies
from inngest_server.api.graphql import documents as graphql_documents
from inngest_server.api.graphql import endpoint as graphql_endpoint
from inngest_server.api.graphql import pages as graphql_pages
from inngest_server.api.graphql import session as graphql_session
from inngest_server.api.table import route_table
from inngest_server.apps import config
from inngest_server.cli import examination
from inngest_server.cli import flags as cli_flags
from inngest_server.clock import SystemClock, system_random
from inngest_server.engine import crons, engine, events
from inngest_server.events import form
from inngest_server.events.expressions import functions as expression_functions
from inngest_server.events.expressions import limits as expression_limits
from inngest_server.execution import gateway, http1, transport
from inngest_server.explain import gate as explain_gate
from inngest_server.observability import metrics
from inngest_server.observability.loop_lag import LoopLag
from inngest_server.runs.records import RunStatus
from inngest_server.runs.retry import RETRY_DELAYS_MS
from inngest_server.runs.run import Limits
from inngest_server.runs.turn import TIMEOUT_MAX_MS
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.sqlite import checkpoints
from inngest_server.traces.span import Phase
from inngest_server.wire import json as wire_json
from inngest_server.wire import limits as wire_limits
from inngest_server.wire.durations import parse_duration_ms

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "server" / "src" / "inngest_server"
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "ARCHITECTURE.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BYTES = {"KiB": 1024, "MiB": 1024 * 1024}

# Written so that it does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|root|home|tmp)/")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", text_of(page))


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(match[2], id=f"{name}:{number}")
        for page, name in zip(PAGES, NAMES, strict=True)
        for number, match in enumerate(FENCE.finditer(text_of(page)), start=1)
        if match[1] == language
    ]


def anchors_of(page: Path) -> set[str]:
    """What `#...` may name in a page: its headings as they are linked."""
    headings = (heading.replace("`", "").lower() for heading in HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def table(page: str, heading: str = "") -> list[list[str]]:
    """The cells of the first table under a heading, or of the page, without its first two lines."""
    text = text_of(ROOT / "docs" / page)
    if heading:
        text = text.partition(f"\n## {heading}\n")[2]
    first = re.search(r"^\|(?: ?-+ ?\|)+\n((?:\|.*\n)*)", text, re.MULTILINE)
    assert first is not None, f"{page} has no table under {heading!r}"
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in first[1].splitlines()]
    return [[cell.strip() for cell in row] for row in rows]


def code_of(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# ---- the pages themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_internal_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in LINK.findall(prose_of(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(text_of(index))}
    assert {page for page in (ROOT / "docs").rglob("*.md") if page != index} - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_names_a_folder_of_one_machine(page: Path) -> None:
    assert [line for line in text_of(page).splitlines() if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_code_block_has_a_language_and_an_end(page: Path) -> None:
    text = text_of(page)
    assert text.count("\n```") + text.startswith("```") == 2 * len(FENCE.findall(text))
    if page.is_relative_to(ROOT / "docs"):
        assert [match[2] for match in FENCE.finditer(text) if not match[1]] == []


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_compile(code: str) -> None:
    compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("code", blocks("json"))
def test_json_examples_parse(code: str) -> None:
    json.loads(code)


# ---- tables that repeat what the code says -------------------------------------------------------


def flags_of(command: str) -> dict[str, tuple[set[str], str, str]]:
    """Names, variable and default of each flag of a command, as the reference writes them."""
    found: dict[str, tuple[set[str], str, str]] = {}
    for flag in cli_flags.flags_of(command):
        default = flag.defaults[command]
        shown = "off" if default is False else "none" if default is None else f"`{default}`"
        names = {flag.option, *([f"-{flag.short}"] if flag.short else [])}
        found[flag.option] = (names, flag.variable, shown)
    return found


def test_the_command_line_page_lists_every_flag_with_variable_and_default() -> None:
    dev, start = flags_of("dev"), flags_of("start")
    documented = {code_of(row[0])[0]: row for row in table("reference/command-line.md", "Flags")}

    assert documented.keys() == dev.keys() | start.keys()
    for flag, (names, variable, dev_default, start_default) in documented.items():
        opts, envvar, _ = dev.get(flag) or start[flag]
        assert (set(code_of(names)), code_of(variable)) == (opts, [envvar]), flag
        assert dev_default == (dev[flag][2] if flag in dev else "no"), flag
        assert start_default == (start[flag][2] if flag in start else "no"), flag


def test_the_command_line_page_explains_every_flag_and_names_every_command() -> None:
    explained = [code_of(row[0])[0] for row in table("reference/command-line.md", "What they do")]
    assert set(explained) == flags_of("dev").keys() | flags_of("start").keys()
    page = text_of(ROOT / "docs/reference/command-line.md")
    for command in cli_flags.COMMANDS:
        assert f"inngest {command}" in page


def test_the_api_page_lists_every_route_with_its_access_rule() -> None:
    documented = [
        (method, *code_of(path), *code_of(access))
        for method, path, access, _ in table("reference/http-api.md", "Routes")
    ]
    assert sorted(documented) == sorted(
        (route.method, route.path, route.access.value) for route in route_table()
    )


def test_the_command_line_page_lists_what_the_doctor_checks() -> None:
    documented = [
        (code_of(name)[0], promise.replace("`", ""))
        for name, promise in table("reference/command-line.md", "Doctor")
    ]
    assert documented == [(check.name, check.promise) for check in examination.CHECKS]


class NoCalls:
    def calls_by_app(self) -> dict[str, tuple[int, int]]:
        return {}


def test_the_api_page_lists_every_metric() -> None:
    documented = {code_of(row[0])[0]: row[1] for row in table("reference/http-api.md", "Metrics")}
    clock = SystemClock()
    node = engine.Engine(MemoryStorage(), clock, system_random())
    found = metrics.Metrics(node, NoCalls(), LoopLag(clock)).read().metrics()
    assert documented == {metric.name: metric.kind for metric in found}


def test_the_lifecycle_page_lists_the_statuses_and_the_delays_between_tries() -> None:
    statuses = {code_of(row[0])[0] for row in table("reference/run-lifecycle.md", "Statuses")}
    assert statuses == {status.value for status in RunStatus} - {"Skipped"}

    rows = table("reference/run-lifecycle.md", "Tries")
    delays = [parse_duration_ms(delay.replace(" ", "").replace("min", "m")) for _, delay in rows]
    assert delays == list(RETRY_DELAYS_MS)
    assert [attempt.split()[0] for attempt, _ in rows] == [str(n) for n in range(len(RETRY_DELAYS_MS))]


def test_the_lifecycle_page_lists_the_phases_of_traces() -> None:
    phases = [code_of(row[0])[0] for row in table("reference/run-lifecycle.md", "Trace")]
    assert phases == [phase.value for phase in Phase]


def test_the_api_page_lists_the_gates_and_verdicts_of_explanations() -> None:
    verdicts = [code_of(row[0])[0] for row in table("reference/http-api.md", "Explanations")]
    assert verdicts == [verdict.value for verdict in explain_gate.Verdict]
    page = text_of(ROOT / "docs/reference/http-api.md").partition("\n| Gate | Says |\n")[2]
    gates = [code_of(line.split("|")[1])[0] for line in page.partition("\n\n")[0].splitlines()[1:]]
    assert gates == list(explain_gate.LABELS)


def test_the_expressions_page_names_every_function() -> None:
    page = text_of(ROOT / "docs/reference/expressions.md")
    known = expression_functions.FUNCTIONS.keys() | expression_functions.METHODS.keys()
    assert [name for name in sorted(known) if not re.search(rf"\b{name}\b", page)] == []


def amount(text: str) -> float:
    """A limit as the page writes it, in bytes or milliseconds where it has a unit."""
    number, _, unit = text.replace(",", "").partition(" ")
    if unit in BYTES:
        return float(number) * BYTES[unit]
    return parse_duration_ms(number + unit) if unit else float(number)


def test_the_limits_page_has_the_limits_of_the_code() -> None:
    options, run = engine.EngineOptions(), Limits()
    assert {name: amount(value) for name, value in table("reference/limits.md")} == {
        "events in a request": wire_limits.EVENTS_PER_POST_MAX,
        "size of an event": wire_limits.EVENT_BYTES_MAX,
        "body of a request": wire_limits.BODY_BYTES_MAX,
        "headers of a request": connections.HEAD_BYTES_MAX,
        "time to send headers": connections.HEAD_TIMEOUT_S * 1000,
        "silence within a body": replies.PACE.silence_s * 1000,
        "bytes of a body each second": replies.PACE.bytes_per_s,
        "connections": connections.CONNECTIONS_MAX,
        "size of a form": form.FORM_BYTES_MAX,
        "fields of a form": form.FORM_FIELDS_MAX,
        "nesting of JSON": wire_json.DEPTH_MAX,
        "event name": wire_limits.EVENT_NAME_CHARS_MAX,
        "event id": wire_limits.EVENT_ID_CHARS_MAX,
        "memory of an event id": events.MARK_LIFETIME_MS,
        "events waiting to be decided": options.undecided_events_max,
        "bytes of events waiting to be decided": options.undecided_bytes_max,
        "time that events may wait to be decided": options.undecided_s_max * 1000,
        "steps of a run": run.steps_max,
        "result of a step": run.output_bytes_max,
        "input of a step": run.input_bytes_max,
        "values of the event that a wait keeps": run.captured_bytes_max,
        "gateway requests of a run": run.requests_bytes_max,
        "state of a run": run.state_bytes_max,
        "answer of an app": wire_limits.RESPONSE_BYTES_MAX,
        "call request": wire_limits.CALL_BODY_BYTES_MAX,
        "duration of a call": wire_limits.CALL_TIMEOUT_S * 1000,
        "redirects of a call": wire_limits.SDK_REDIRECTS_MAX,
        "answer to a gateway request": wire_limits.GATEWAY_RESPONSE_BYTES_MAX,
        "redirects of a gateway request": transport.FETCH_REDIRECTS_MAX,
        "headers of an answer": http1.HEAD_BYTES_MAX,
        "number of headers of an answer": http1.HEADERS_MAX,
        "encodings of an answer": http1.ENCODINGS_MAX,
        "gateway requests to one host": gateway.HOST_CONNECTIONS,
        "sleep or wait": TIMEOUT_MAX_MS,
        "retries of a function": config.RETRIES_MAX,
        "slots that cron catch-up runs": crons.CATCH_UP_SLOTS_MAX,
        "text of an expression": expression_limits.TEXT_CHARS_MAX,
    }


def test_the_api_page_has_the_bounds_of_graphql() -> None:
    bounds = table("reference/http-api.md", "Bounds of a query")
    assert {name: amount(value) for name, value in bounds} == {
        "body of a query": graphql_endpoint.GRAPHQL_BYTES_MAX,
        "text of a document": graphql_documents.DOCUMENT_CHARS_MAX,
        "tokens of a document": graphql_documents.TOKENS_MAX,
        "fields with fragments put in": graphql_documents.FIELDS_MAX,
        "fields at the top": graphql_documents.ROOT_FIELDS_MAX,
        "nesting of fields": graphql_documents.DEPTH_MAX,
        "rows of a page": graphql_pages.PAGE_MAX,
        "fields of an answer": graphql_session.RESOLVED_FIELDS_MAX,
        "payloads of an answer": graphql_session.ANSWER_BYTES_MAX,
        "queries waiting to be answered": lane.WAITING_MAX,
    }


def test_the_durability_page_states_the_window_of_relaxed_commits() -> None:
    window = f"{checkpoints.ROWS_BETWEEN:,} changed rows or {checkpoints.SECONDS_BETWEEN:g} seconds"
    assert window in text_of(ROOT / "docs/explanation/durability.md")


# ---- codes of errors -----------------------------------------------------------------------------

# Functions whose argument at that place is a code.
CODE_ARGUMENT = {
    "AppError": 0,
    "CompileError": 0,
    "EvaluationError": 0,
    "RunFailure": 0,
    "_failed": 0,
    "_request_failed": 2,
    "failed": 1,
    "refuse": 1,
    "transport_failed": 0,
    "warn": 1,
}
INSIDE = {
    # Their callers translate these; nobody outside of the server sees them.
    "invalid_cron", "invalid_time", "transport",
    "unknown_rule", "unreadable_file",
    "signature_invalid",  # The root of the others.
}  # fmt: skip


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Texts that classes have as `code`, and calls pass as one."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.ClassDef):
            values = [
                inner.value
                for inner in node.body
                if isinstance(inner, ast.Assign) and ast.unparse(inner.targets[0]) == "code"
            ]
        elif isinstance(node, ast.Call):
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            place = CODE_ARGUMENT.get(ast.unparse(node.func).rpartition(".")[2])
            if place is not None and len(node.args) > place:
                values.append(node.args[place])
        yield from (
            value.value
            for value in values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        )


def test_the_errors_page_lists_every_code() -> None:
    codes = {code for file in SERVER.rglob("*.py") for code in codes_in(ast.parse(file.read_text("utf-8")))}
    pages = "".join(
        text_of(ROOT / f"docs/reference/{page}.md") for page in ("errors", "run-lifecycle", "lint")
    )
    named = set(code_of(pages))
    assert sorted(code for code in codes - INSIDE - {""} if code not in named) == []
