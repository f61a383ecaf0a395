"""Samples of middleware."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

import inngest
from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import run, serve_functions
from tests.sdk.samples.shown import body, put, without_indent

INIT = body("def __init__")


@pytest.mark.parametrize("sample", ["PY-34", "PY-37", "S-18"])
def test_hooks_around_sending(
    show: Show, world: World, capsys: pytest.CaptureFixture[str], sample: str
) -> None:
    """Called for the client and for a step that sends. An `__init__` that calls no other is enough."""
    shown = show(sample) if sample == "S-18" else show(sample).edited(INIT)
    module = shown.play()
    client = inngest.Inngest(app_id="my_app", middleware=[module.MyMiddleware])
    if sample != "PY-37":
        client = module.inngest_client

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"))
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.send_event("send", [inngest.Event(name="one"), inngest.Event(name="two")])

    serve_functions(world, client, [fn])
    asyncio.run(client.send(inngest.Event(name="three")))
    assert capsys.readouterr().out == "Sending 1 events\nDone sending events\n"
    assert run(world, "go").status == "Completed"
    assert capsys.readouterr().out == "Sending 2 events\nDone sending events\n"


@pytest.mark.parametrize(("sample", "added"), [("PY-35", "pass"), ("PY-36", "pass")])
def test_a_middleware_is_made_for_each_request(show: Show, world: World, sample: str, added: str) -> None:
    made: list[Any] = []
    shown = show(sample).edited(without_indent, body("def __init__", "made.append((client, raw_request))"))
    module = shown.play(made=made)
    client = inngest.Inngest(app_id="my_app", middleware=[module.MyMiddleware], checkpointing=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"))
    async def fn(ctx: inngest.Context) -> Any:
        return await ctx.step.run("one", lambda: 1)

    serve_functions(world, client, [fn])
    made.clear()

    assert run(world, "go").output == 1
    assert [one[0] for one in made] == [client, client]
    assert all(raw_request is not None for _, raw_request in made)


def test_a_factory_hands_options_to_a_middleware(
    show: Show, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed the class does not take the key that its factory hands it; here it does."""
    shown = show("PY-38").edited(
        put(
            "    raw_request: object,\n    ) -> None",
            "    raw_request: object,\n        secret_key: str,\n    ) -> None",
        ),
        body("def __init__", "self.secret_key = secret_key"),
        put("import inngest\n", "from __future__ import annotations\nimport inngest\nimport typing\n"),
    )
    middleware = shown.play().MyMiddleware
    client = show("PY-39").play(MyMiddleware=middleware, _secret_key="s3cret").inngest_client
    asyncio.run(client.send(inngest.Event(name="one")))

    assert capsys.readouterr().out == "Sending 1 events\nDone sending events\n"
    assert world.sent_events[0]["name"] == "one"


def test_a_factory_that_hands_too_much_is_an_error(show: Show, world: World) -> None:
    """The same with no more than a body."""
    future = put("import inngest\n", "from __future__ import annotations\nimport inngest\nimport typing\n")
    middleware = show("PY-38").edited(INIT, future).play().MyMiddleware
    client = show("PY-39").play(MyMiddleware=middleware, _secret_key="s3cret").inngest_client

    with pytest.raises((TypeError, inngest.errors.Error), match="positional argument"):
        asyncio.run(client.send(inngest.Event(name="one")))


def test_a_middleware_gives_the_context_an_attribute(show: Show, world: World) -> None:
    """With `transform_input` that is no coroutine function, and no `super().__init__()`."""
    asked: list[dict[str, Any]] = []
    openai = SimpleNamespace(
        chat=SimpleNamespace(completions=SimpleNamespace(create=lambda **body: asked.append(body)))
    )
    shown = show("PY-40")
    shown.modules({"openai": {"OpenAI": lambda *, api_key: openai}})
    client = shown.play(
        os=os,
        execution_lib=SimpleNamespace(Context=inngest.Context),
        function=SimpleNamespace(Function=inngest.Function),
        step_lib=SimpleNamespace(StepMemos=inngest.StepMemos),
    ).inngest_client
    module = show("PY-41").play(inngest_client=client)
    serve_functions(world, client, [module.fn])

    assert run(world, "app/user.create").status == "Completed"
    assert asked == [
        {"messages": [{"role": "user", "content": "Say this is a test"}], "model": "gpt-3.5-turbo"}
    ]


def test_encrypted_outputs_are_read_by_the_app_only(show: Show, world: World) -> None:
    client = show("PY-42").play().inngest_client

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"))
    async def fn(ctx: inngest.Context) -> Any:
        first = await ctx.step.run("first", lambda: {"secret": 1})
        await ctx.step.sleep("pause", 1000)
        assert first == {"secret": 1}
        return first

    serve_functions(world, client, [fn])
    ended = run(world, "go")

    assert ended.status == "Completed"
    assert ended.output["__ENCRYPTED__"] is True
    assert "secret" not in str(ended.output)


def test_sentry_is_told_of_errors(show: Show, world: World) -> None:
    sentry_sdk = pytest.importorskip("sentry_sdk")
    told: list[Any] = []

    def init(**options: Any) -> None:
        """What the page configures, and a transport that keeps what it is given."""
        assert options == {"traces_sample_rate": 1.0, "profiles_sample_rate": 1.0}
        sentry_sdk.get_global_scope().set_client(
            sentry_sdk.Client(
                dsn="http://key@127.0.0.1:9/1",
                default_integrations=False,
                before_send=lambda event, _: told.append(event),
            )
        )

    shown = show("PY-43")
    shown.modules({"sentry_sdk": {**vars(sentry_sdk), "init": init}})
    try:
        client = shown.play().inngest_client

        @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"), retries=0)
        async def fn(ctx: inngest.Context) -> None:
            raise ValueError("for sentry")

        serve_functions(world, client, [fn])
        assert run(world, "go").status == "Failed"
    finally:
        sentry_sdk.get_global_scope().set_client(None)

    assert [event["exception"]["values"][-1]["value"] for event in told] == ["for sentry"]


def test_middleware_of_the_client_comes_before_that_of_the_function(show: Show, world: World) -> None:
    began: list[str] = []

    def recorder(name: str) -> type[inngest.Middleware]:
        async def before_execution(self: object) -> None:
            began.append(name)

        return type(name, (inngest.Middleware,), {"before_execution": before_execution})

    names = ["LogMiddleware", "ErrorMiddleware", "DbSetupMiddleware", "DatadogMiddleware"]
    module = show("PY-44").edited(body("async def fn")).play(**{name: recorder(name) for name in names})
    serve_functions(world, module.inngest_client, [module.fn])

    assert run(world, "shop/product.imported").status == "Completed"
    assert began == names
