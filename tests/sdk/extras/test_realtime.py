"""`inngest.experimental.realtime`: what is asked of the server (protocol 8), and what its answers mean."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import inngest
from inngest.experimental import mocked, realtime
from tests.sdk.http.server import Server

KEY = "signkey-test-12345678"
BEARER = "b2ed992186a5cb19f6668aade821f502c1d00970dfd0e35128d51bac4649916c"  # SHA-256 of the key's bytes.

Publish = Callable[..., Any]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[inngest.Inngest]:
    made = inngest.Inngest(app_id="shop", is_production=True, api_base_url=server.url, signing_key=KEY)
    yield made
    await made.aclose()


@pytest.fixture(params=["async", "sync"])
def publish(request: pytest.FixtureRequest) -> Publish:
    async def publish(*args: Any, **kwargs: Any) -> None:
        if request.param == "async":
            return await realtime.publish(*args, **kwargs)
        return realtime.publish_sync(*args, **kwargs)

    return publish


@pytest.fixture(params=["async", "sync"])
def get_token(request: pytest.FixtureRequest) -> Publish:
    async def get_token(*args: Any, **kwargs: Any) -> Any:
        if request.param == "async":
            return await realtime.get_subscription_token(*args, **kwargs)
        return realtime.get_subscription_token_sync(*args, **kwargs)

    return get_token


async def test_a_message_is_published_to_a_topic_of_a_channel(
    server: Server, client: inngest.Inngest, publish: Publish
) -> None:
    await publish(client=client, channel="user:1 2", topic="a&b", data={"text": "hällo"})

    (asked,) = server.asked
    url = urlsplit(asked.target)
    assert (asked.method, url.path) == ("POST", "/v1/realtime/publish")
    assert dict(parse_qsl(url.query)) == {"channel": "user:1 2", "topic": "a&b"}
    assert asked.json() == {"text": "hällo"}
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == f"Bearer {BEARER}"


async def test_a_token_is_for_topics_of_one_channel(
    server: Server, client: inngest.Inngest, get_token: Publish
) -> None:
    server.answers = [(201, {"jwt": "the-token"})]

    token = await get_token(client=client, channel="user:1", topics=["a", "b"])

    assert token == {"channel": "user:1", "topics": ["a", "b"], "key": "the-token"}
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/v1/realtime/token")
    assert asked.json() == [
        {"channel": "user:1", "name": "a", "kind": "run"},
        {"channel": "user:1", "name": "b", "kind": "run"},
    ]


async def test_a_refusal_says_what_and_why(server: Server, client: inngest.Inngest, publish: Publish) -> None:
    server.answers = [(401, {"error": "unknown key"})]

    with pytest.raises(inngest.errors.ApiError) as error:
        await publish(client=client, channel="user:1", topic="a", data={})

    assert error.value.status == 401
    assert "channel 'user:1'" in str(error.value)
    assert "unknown key" in str(error.value)
    assert "signing key" in str(error.value)


async def test_an_unreachable_server_is_an_error(publish: Publish) -> None:
    client = inngest.Inngest(app_id="shop", is_production=False, api_base_url="http://127.0.0.1:9")

    with pytest.raises(inngest.errors.ApiError) as error:
        await publish(client=client, channel="user:1", topic="a", data={})

    assert error.value.status is None
    await client.aclose()


async def test_an_answer_without_a_token_is_an_error(
    server: Server, client: inngest.Inngest, get_token: Publish
) -> None:
    server.answers = [(201, {"no": "token"})]

    with pytest.raises(inngest.errors.ApiError, match="without a `jwt`"):
        await get_token(client=client, channel="user:1", topics=["a"])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"channel": ""}, "a channel is a text"),
        ({"topic": ""}, "a topic is a text"),
        ({"data": {"when": object()}}, "has no JSON form"),
        ({"data": {"n": float("nan")}}, "has no JSON form"),
        ({"data": {"text": "x" * 512 * 1024}}, "at most 524288 can be published"),
    ],
)
async def test_a_message_that_cannot_be_published_is_not_sent(
    server: Server, client: inngest.Inngest, publish: Publish, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(inngest.errors.ConfigError, match=why):
        await publish(**{"client": client, "channel": "c", "topic": "t", "data": {}, **fields})

    assert server.asked == []


@pytest.mark.parametrize("topics", [[], "messages", [""], [1]])
async def test_topics_are_a_list_of_names(
    server: Server, client: inngest.Inngest, get_token: Publish, topics: Any
) -> None:
    with pytest.raises(inngest.errors.ConfigError, match="topic"):
        await get_token(client=client, channel="c", topics=topics)

    assert server.asked == []


async def test_a_message_that_is_published_in_a_step_is_published_once(
    server: Server, client: inngest.Inngest
) -> None:
    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    def f(ctx: inngest.ContextSync) -> None:
        def tell() -> None:
            realtime.publish_sync(client=client, channel=ctx.run_id, topic="progress", data={"done": 1})

        ctx.step.run("tell", tell)
        ctx.step.sleep("wait", "1d")
        ctx.step.run("end", lambda: None)

    mocked.trigger(f, inngest.Event(name="e"), mocked.Inngest(app_id="test"))

    assert [asked.target for asked in server.asked] == ["/v1/realtime/publish?channel=test&topic=progress"]


def test_a_mocked_client_publishes_nothing_and_gives_tokens_that_open_nothing() -> None:
    client = mocked.Inngest(app_id="test")

    realtime.publish_sync(client=client, channel="c", topic="t", data={})
    token = realtime.get_subscription_token_sync(client=client, channel="c", topics=["t"])

    assert token == {"channel": "c", "topics": ["t"], "key": "mocked"}
