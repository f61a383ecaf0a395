"""Adapters of `inngest.experimental.ai`: where providers are, and how they are asked (protocol 5.7)."""

import inspect
from types import ModuleType
from typing import Any

import pytest

import inngest
from inngest.experimental import ai, mocked
from inngest.experimental.ai import anthropic, deepseek, gemini, grok, openai

PROVIDERS = [
    (openai, "openai-chat", "https://api.openai.com/v1/chat/completions"),
    (anthropic, "anthropic", "https://api.anthropic.com/v1/messages"),
    (gemini, "gemini", "https://generativelanguage.googleapis.com/v1beta/models/m-1:generateContent"),
    (grok, "openai-chat", "https://api.x.ai/v1/chat/completions"),
    (deepseek, "openai-chat", "https://api.deepseek.com/v1/chat/completions"),
]
MODULES = [module for module, _, _ in PROVIDERS]


@pytest.mark.parametrize(("module", "format", "url"), PROVIDERS)
def test_an_adapter_knows_its_provider(module: Any, format: str, url: str) -> None:
    adapter = module.Adapter(auth_key="key", model="m-1")

    assert isinstance(adapter, ai.BaseAdapter)
    assert (adapter.auth_key(), adapter.format(), adapter.url_infer()) == ("key", format, url)


@pytest.mark.parametrize("module", MODULES)
def test_the_options_are_those_of_the_official_sdk(module: Any) -> None:
    parameters = inspect.signature(module.Adapter).parameters
    assert sorted(parameters) == ["auth_key", "base_url", "headers", "model"]
    assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())


@pytest.mark.parametrize("module", [openai, anthropic, grok, deepseek])
def test_the_body_names_the_model_unless_it_names_one_itself(module: Any) -> None:
    adapter = module.Adapter(auth_key="key", model="m-1")
    bodies: list[dict[str, Any]] = [{"messages": []}, {"messages": [], "model": "m-2"}]

    for body in bodies:
        adapter.on_call(body)

    assert [body["model"] for body in bodies] == ["m-1", "m-2"]


def test_gemini_has_the_model_and_never_the_key_in_the_url() -> None:
    adapter = gemini.Adapter(auth_key="secret", model="models/a b")
    body: dict[str, Any] = {"contents": []}
    adapter.on_call(body)

    assert adapter.url_infer().endswith("/models/models/a%20b:generateContent")
    assert body == {"contents": []}


def test_a_base_url_replaces_the_providers() -> None:
    for base_url in ("https://gate.example/v9", "https://gate.example/v9/"):
        adapter = openai.Adapter(auth_key="key", model="m-1", base_url=base_url)
        assert adapter.url_infer() == "https://gate.example/v9/chat/completions"


def test_a_base_url_without_scheme_is_refused() -> None:
    with pytest.raises(inngest.errors.ConfigError, match=r"'gate\.example' has to begin with https://"):
        openai.Adapter(auth_key="key", model="m-1", base_url="gate.example")


def test_headers_add_to_the_providers_own_and_win_over_them() -> None:
    own = anthropic.Adapter(auth_key="key", model="m-1", headers={"x-team": "a"})
    other = anthropic.Adapter(auth_key="key", model="m-1", headers={"anthropic-version": "2030-01-01"})

    assert own.headers() == {"anthropic-version": "2023-06-01", "x-team": "a"}
    assert other.headers() == {"anthropic-version": "2030-01-01"}


def test_changing_the_headers_of_one_adapter_changes_no_other() -> None:
    adapter = anthropic.Adapter(auth_key="key", model="m-1")
    adapter.headers()["x"] = "y"
    assert anthropic.Adapter(auth_key="key", model="m-1").headers() == {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize("module", MODULES)
def test_the_key_is_not_in_what_a_log_shows_of_an_adapter(module: ModuleType) -> None:
    assert "secret" not in repr(module.Adapter(auth_key="secret", model="m-1"))


def test_a_step_asks_the_server_to_make_the_request() -> None:
    """What `step.ai.infer` reports, as middleware sees it, with an adapter of the user's own."""
    asked: list[dict[str, object] | None] = []

    class Seer(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            if result.step is not None:
                asked.append(result.step.opts)

    class Own:
        def auth_key(self) -> str:
            return "key"

        def format(self) -> str:
            return "openai-chat"

        def headers(self) -> dict[str, str]:
            return {"x-team": "a"}

        def on_call(self, body: dict[str, Any]) -> None:
            body["temperature"] = 0

        def url_infer(self) -> str:
            return "https://models.example/ask"

    client = mocked.Inngest(app_id="test", middleware=[Seer])

    @client.create_function(fn_id="ask", trigger=inngest.TriggerEvent(event="ask"))
    async def ask(ctx: inngest.Context) -> object:
        return await ctx.step.ai.infer("ask", adapter=Own(), body={"messages": []})

    run = mocked.trigger(ask, inngest.Event(name="ask"), client, step_stubs={"ask": {"id": 1}})

    assert run.output == {"id": 1}
    assert asked == [
        {
            "type": "step.ai.infer",
            "url": "https://models.example/ask",
            "headers": {"x-team": "a"},
            "auth_key": "key",
            "format": "openai-chat",
            "body": {"messages": [], "temperature": 0},
        }
    ]
