"""Writes docs/reference/python-sdk.md from the docstrings of the SDK; run it after changing one.

    .venv/bin/python sdk/write_reference.py

It reads source and imports nothing, so frameworks need not be installed. `tests/test_python_docs.py` fails
when the page is not what this script would write.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent / "src"
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "python-sdk.md"
WIDTH = 100

HEAD = """\
# Python SDK

Everything public of `inngest`, made from its docstrings by `sdk/write_reference.py`. How things are done is
told in the [how-to pages](../README.md#python-sdk). Names are imported from the module that stands before
them; where a duration is taken, it is milliseconds as an integer, a `timedelta`, or a text such as `"5m"`.
"""

FRAMEWORKS = ["starlette", "fast_api", "flask", "django", "tornado", "litestar", "quart", "sanic", "aiohttp"]
FRAMEWORKS += ["asgi", "wsgi", "aws_lambda", "digital_ocean"]
SECTIONS: dict[str, list[str]] = {
    "Client": ["inngest.Inngest", "inngest.Streaming"],
    "Functions": [
        "inngest.Function",
        "inngest.TriggerEvent",
        "inngest.TriggerCron",
        "inngest.Trigger",
        "inngest.Batch",
        "inngest.Cancel",
        "inngest.Checkpointing",
        "inngest.Concurrency",
        "inngest.Debounce",
        "inngest.Priority",
        "inngest.RateLimit",
        "inngest.Singleton",
        "inngest.Throttle",
        "inngest.Timeouts",
    ],
    "Context": ["inngest.Context", "inngest.ContextSync"],
    "Steps": [
        "inngest.Step",
        "inngest.StepSync",
        "inngest.step.AI",
        "inngest.step.AISync",
        "inngest.ReceivedSignal",
        "inngest.FetchResponse",
    ],
    "Parallel steps": ["inngest.Group", "inngest.GroupSync", "inngest.ParallelMode"],
    "Events": ["inngest.Event", "inngest.SendEventsResult"],
    "Errors": [
        "inngest.Error",
        "inngest.NonRetriableError",
        "inngest.RetryAfterError",
        "inngest.StepError",
    ],
    "Middleware": [
        "inngest.Middleware",
        "inngest.MiddlewareSync",
        "inngest.StepMemos",
        "inngest.TransformOutputResult",
        "inngest.TransformOutputStepInfo",
    ],
    "Serializers": ["inngest.Serializer", "inngest.PydanticSerializer"],
    "Serving": [
        *(f"inngest.{framework}.serve" for framework in FRAMEWORKS),
        "inngest.connect.connect",
    ],
    "Testing": [
        "inngest.experimental.mocked.trigger",
        "inngest.experimental.mocked.Inngest",
        "inngest.experimental.mocked.Result",
        "inngest.experimental.mocked.Status",
        "inngest.experimental.dev_server.DevServer",
        "inngest.experimental.digital_ocean_simulator.DigitalOceanSimulator",
    ],
    "AI adapters": [
        f"inngest.experimental.ai.{provider}.Adapter"
        for provider in ["openai", "anthropic", "gemini", "grok", "deepseek"]
    ],
    "Ready-made middleware": [
        "inngest_encryption.EncryptionMiddleware",
        "inngest.experimental.sentry_middleware.SentryMiddleware",
        "inngest.experimental.otel_middleware.OpenTelemetryMiddleware",
        "inngest.experimental.remote_state_middleware.RemoteStateMiddleware",
        "inngest.experimental.remote_state_middleware.StateDriver",
        "inngest.experimental.remote_state_middleware.InMemoryDriver",
        "inngest.experimental.remote_state_middleware.S3Driver",
    ],
    "Experimental": [
        "inngest.experimental.step",
        "inngest.experimental.get_step_context",
        "inngest.experimental.set_step_context",
        "inngest.experimental.realtime.publish",
        "inngest.experimental.realtime.publish_sync",
        "inngest.experimental.realtime.get_subscription_token",
        "inngest.experimental.realtime.get_subscription_token_sync",
    ],
}
TOLD_ELSEWHERE = {
    "JSON": "any JSON value",
    "SyncStep": "another name of `StepSync`",
    "__version__": "the version",
}
"""Names of `inngest.__all__` that need no more than this."""
INTERNAL = {
    "Checkpointing": {"of"},
    "Event": {"from_raw"},
    "Inngest": {"send_through", "send_through_sync", "settings", "thread_pool"},
    "RetryAfterError": {"header"},
}
"""Methods of a class that are for the SDK's own modules."""
SHOWN = {
    "Adapter": set[str](),
    "EncryptionMiddleware": {"factory"},
    "InMemoryDriver": set[str](),
    "OpenTelemetryMiddleware": {"factory"},
    "RemoteStateMiddleware": {"factory"},
    "S3Driver": set[str](),
    "SentryMiddleware": set[str](),
}
"""Classes whose methods are those of their base, which has its own section; what they have besides."""
NOT_MADE = {"AI", "AISync", "Context", "ContextSync", "Function", "Group", "GroupSync", "Step", "StepSync"}
"""Classes whose instances the SDK makes."""
SOURCES = re.compile(r"\s*\((?:protocol|design|features-\d) [^)]*\)")
"""Where a rule comes from is of no use to readers of the page."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Method = ast.FunctionDef | ast.AsyncFunctionDef


class Found(NamedTuple):
    """A definition, and the module in which it stands."""

    module: str
    node: Definition


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += described(name)
        if title == "Errors":
            parts.append(errors_table())
    parts.append("## Further names\n")
    parts.append("".join(f"- `inngest.{name}`: {text}\n" for name, text in TOLD_ELSEWHERE.items()))
    return "\n".join(parts)


# ---- finding definitions ---------------------------------------------------------------------------


def public_names() -> list[str]:
    """`inngest.__all__`."""
    for node in tree_of("inngest").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise LookupError("inngest has no __all__")


def tree_of(module: str) -> ast.Module:
    path = SOURCE / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def is_package(module: str) -> bool:
    return (SOURCE / Path(*module.split("."))).is_dir()


def find(name: str) -> Found:
    """The definition of a full name, through whatever modules hand it on."""
    module, _, last = name.rpartition(".")
    tree = tree_of(module)
    overloaded = [node for node in tree.body if isinstance(node, Definition) and node.name == last]
    if overloaded:
        return Found(module, overloaded[-1])
    # Some names are only imported when they are asked for.
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == last for alias in node.names):
            package = module if is_package(module) else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            origin = f"{package}.{node.module}" if node.level else node.module or ""
            return find(f"{origin}.{last}")
    raise LookupError(f"{module} has no {last}")


# ---- descriptions ----------------------------------------------------------------------------------


def described(name: str) -> Iterator[str]:
    """A heading, the signature, the docstring, and what belongs to it."""
    module, node = find(name)
    yield f"### {name}\n"
    if isinstance(node, ast.ClassDef):
        yield from described_class(module, node)
    else:
        yield code(signature(node))
        yield text_of(node)


def described_class(module: str, node: ast.ClassDef) -> Iterator[str]:
    made = constructor(node) or inherited_constructor(module, node)
    if made:
        yield code(made)
    yield text_of(node)
    fields = "".join(attributes(module, node))
    if fields:
        yield fields
    for method in methods(module, node):
        yield f"#### {node.name}.{method.name}\n"
        yield code(signature(method))
        text = text_of(method)
        if text:
            yield text


def constructor(node: ast.ClassDef) -> str:
    """How an instance is made: `__init__`, or the fields of a dataclass; empty for what users do not make."""
    bases = {ast.unparse(base) for base in node.bases}
    if bases & {"Protocol", "Enum"} or node.name in NOT_MADE:
        return ""
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return signature(child, name=node.name)
    if "BaseModel" in bases or is_dataclass(node):
        only_keywords = "BaseModel" in bases or any(
            "kw_only" in ast.unparse(one) for one in node.decorator_list
        )
        parts = ["*"] if only_keywords else []
        for child in node.body:
            if isinstance(child, ast.AnnAssign):
                if ast.unparse(child.annotation) == "KW_ONLY":
                    parts.append("*")
                else:
                    default = f" = {default_of(child.value)}" if child.value else ""
                    parts.append(f"{ast.unparse(child.target)}: {type_of(child.annotation)}{default}")
        return laid_out(f"{node.name}(", parts, ")")
    return ""


def inherited_constructor(module: str, node: ast.ClassDef) -> str:
    """That of a base in the SDK; empty for those whose instances the SDK makes."""
    for base in node.bases:
        if node.name not in NOT_MADE and ast.unparse(base) == "ProviderAdapter":
            found = find(f"{module}.{ast.unparse(base)}").node
            assert isinstance(found, ast.ClassDef)
            return constructor(found).replace(found.name, node.name, 1)
    return ""


def is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def default_of(node: ast.expr) -> str:
    """A default as it is; that of a factory, as `field` and `Field` have, as what the factory makes."""
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "default_factory":
                return {"list": "[]", "dict": "{}"}.get(ast.unparse(keyword.value).partition("[")[0], "...")
    return ast.unparse(node)


def type_of(node: ast.expr) -> str:
    """An annotation without what only validation needs: `Annotated[T, ...]` is `T`."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Annotated"):
        inner = node.slice
        return ast.unparse(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)
    return ast.unparse(node).replace("StrictInt", "int").replace("StrictStr", "str")


def signature(node: Method, *, name: str = "") -> str:
    """`async def f(...) -> T`, over several lines where it is long; a constructor as a call."""
    arguments = node.args
    parts: list[str] = []
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(plain, defaults, strict=True):
        if argument.arg not in ("self", "cls"):
            parts.append(parameter(argument, default))
    if arguments.posonlyargs and parts:
        parts.append("/")
    if arguments.vararg:
        parts.append(f"*{parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(parameter(argument, default))
    if arguments.kwarg:
        parts.append(f"**{parameter(arguments.kwarg, None)}")
    if name:
        return laid_out(f"{name}(", parts, ")")
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    # What returns a coroutine is to be awaited, as what is written `async def`.
    coroutine = re.fullmatch(r" -> Coroutine\[\w+, \w+, (.*)\]", result)
    if coroutine:
        result = f" -> {coroutine[1]}"
    is_async = "async " if coroutine or isinstance(node, ast.AsyncFunctionDef) else ""
    return laid_out(f"{is_async}def {node.name}(", parts, f"){result}")


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    if default is None:
        return f"{argument.arg}{annotation}"
    equals = " = " if annotation else "="
    shown = "..." if ast.unparse(default) == "EMPTY" else ast.unparse(default)
    return f"{argument.arg}{annotation}{equals}{shown}"


def laid_out(head: str, parts: list[str], tail: str) -> str:
    line = head + ", ".join(parts) + tail
    if len(line) <= WIDTH or not parts:
        return line
    return "\n".join([head, *(f"    {part}," for part in parts), tail])


def code(text: str) -> str:
    # A signature is no program, so the language is not Python.
    return f"```text\n{text}\n```\n"


def hidden_bases(module: str, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    """Bases that readers cannot look up: what they have is described with the class."""
    for base in node.bases:
        name = ast.unparse(base)
        if name.startswith("_") and name.isidentifier():
            found = find(f"{module}.{name}").node
            assert isinstance(found, ast.ClassDef)
            yield found


def attributes(module: str, node: ast.ClassDef) -> Iterator[str]:
    """Attributes, members of enumerations and properties that have a docstring, as a list."""
    for base in hidden_bases(module, node):
        yield from attributes(module, base)
    is_enum = any(ast.unparse(base) == "Enum" for base in node.bases)
    for child, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(child, ast.AnnAssign) and not ast.unparse(child.target).startswith("_"):
            about = string_of(following)
            if about or not constructor(node):
                yield f"- `{ast.unparse(child.target)}: {type_of(child.annotation)}`{with_colon(about)}\n"
        elif isinstance(child, ast.Assign) and is_enum:
            yield f"- `{ast.unparse(child.targets[0])}`{with_colon(string_of(following))}\n"
        elif isinstance(child, ast.FunctionDef) and is_property(child) and not is_hidden(node, child):
            about = ast.get_docstring(child) or ""
            returned = f": {type_of(child.returns)}" if child.returns else ""
            yield f"- `{child.name}{returned}`{with_colon(' '.join(about.split()))}\n"


def with_colon(about: str) -> str:
    return f": {SOURCES.sub('', about)}" if about else ""


def string_of(node: ast.stmt | None) -> str:
    """The text of a statement that is a docstring of what stands before it."""
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return " ".join(node.value.value.split())
    return ""


def methods(module: str, node: ast.ClassDef) -> Iterator[Method]:
    """Public methods, each once: of overloads the last, which is the implementation."""
    found: dict[str, Method] = {}
    for base in hidden_bases(module, node):
        found.update({method.name: method for method in methods(module, base)})
    for child in node.body:
        if isinstance(child, Method) and not is_property(child) and not is_hidden(node, child):
            found[child.name] = child
    yield from found.values()


def is_property(node: Method) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def is_hidden(owner: ast.ClassDef, node: Method) -> bool:
    if owner.name in SHOWN and node.name not in SHOWN[owner.name]:
        return True
    return node.name.startswith("_") or node.name in INTERNAL.get(owner.name, ()) or node.name == "to_wire"


# ---- docstrings ------------------------------------------------------------------------------------


def text_of(node: Definition) -> str:
    """A docstring as Markdown: `Raises:` and `Args:` become lists, what is indented becomes code."""
    docstring = SOURCES.sub("", ast.get_docstring(node) or "")
    parts = [markdown(part) for part in re.split(r"\n\s*\n", docstring) if part.strip()]
    return "\n".join(parts)


def markdown(part: str) -> str:
    lines = part.splitlines()
    head = lines[0].strip()
    if head in ("Raises:", "Args:"):
        return f"{head}\n\n" + "".join(entries(lines[1:]))
    if all(line.startswith("    ") for line in lines):
        return code("\n".join(line[4:] for line in lines))
    return part + "\n"


def entries(lines: list[str]) -> Iterator[str]:
    """Lines of the form `Name: text`, with their continuations."""
    joined: list[str] = []
    for line in lines:
        if joined and not re.match(r"\s*[\w.]+:\s", line):
            joined[-1] += f" {line.strip()}"
        else:
            joined.append(line.strip())
    # Some stand in one line.
    for entry in (one for line in joined for one in re.split(r"(?<=[.;]) (?=[A-Z]\w*Error: )", line)):
        name, _, text = entry.partition(":")
        yield f"- `{name}`: {text.strip()}\n"


def errors_table() -> str:
    """Every error of `inngest.errors` with its code and first sentence."""
    rows = ["All are in `inngest.errors`:\n", "| Error | `code` | Meaning |", "|---|---|---|"]
    tree = tree_of("inngest.errors")
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.ClassDef):
            codes = [
                ast.literal_eval(child.value)
                for child in node.body
                if isinstance(child, ast.Assign | ast.AnnAssign)
                and child.value
                and ast.unparse(child.targets[0] if isinstance(child, ast.Assign) else child.target) == "code"
            ]
            about = SOURCES.sub("", " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()))
            rows.append(f"| `{node.name}` | {f'`{codes[0]}`' if codes else 'as its base'} | {about} |")
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and "Error" in node.value.id:
            rows.append(f"| `{ast.unparse(node.targets[0])}` | | {string_of(tree.body[place + 1])} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
