"""Realtime: publish messages to channels, and get tokens with which browsers subscribe (protocol 8).

`publish` works anywhere: in a step (then it happens once, as all that steps do), in a function outside of
steps (then again with each replay), or in any other code of the app. Messages are not stored: who subscribes
later does not get them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlencode

from inngest.errors import ApiError, ConfigError

if TYPE_CHECKING:
    from inngest._http.api import Answer
    from inngest.client import Inngest

__all__ = ["get_subscription_token", "get_subscription_token_sync", "publish", "publish_sync"]

MESSAGE_BYTES_MAX: Final = 512 * 1024
"""Protocol 8.4."""


async def publish(client: Inngest, channel: str, topic: str, data: Mapping[str, object]) -> None:
    """Send `data` to everybody who is subscribed to the topic of the channel.

    Raises:
        ConfigError: a name is empty, or `data` has no JSON form or more than 512 KiB of it.
        ApiError: the server did not take the message.
    """
    path = _publish_path(channel, topic, data)
    answer = await client._api.request("POST", path, json=data)  # pyright: ignore[reportPrivateUsage]
    _check(answer, f"the message for channel {channel!r} was not published")


def publish_sync(client: Inngest, channel: str, topic: str, data: Mapping[str, object]) -> None:
    """`publish` for code that does not use asyncio."""
    path = _publish_path(channel, topic, data)
    answer = client._api.request_sync("POST", path, json=data)  # pyright: ignore[reportPrivateUsage]
    _check(answer, f"the message for channel {channel!r} was not published")


async def get_subscription_token(client: Inngest, channel: str, topics: list[str]) -> Mapping[str, object]:
    """A token for one channel and some of its topics; give it to the browser as it is.

    It has `channel`, `topics` and `key`, and can be used to connect for one minute. Check before that the
    user may read the channel.

    Raises:
        ConfigError: a name is empty, or there is no topic.
        ApiError: the server gave no token.
    """
    wanted = _token_request(channel, topics)
    answer = await client._api.request("POST", _TOKEN_PATH, json=wanted)  # pyright: ignore[reportPrivateUsage]
    return _token(channel, topics, answer)


def get_subscription_token_sync(client: Inngest, channel: str, topics: list[str]) -> Mapping[str, object]:
    """`get_subscription_token` for code that does not use asyncio."""
    wanted = _token_request(channel, topics)
    answer = client._api.request_sync("POST", _TOKEN_PATH, json=wanted)  # pyright: ignore[reportPrivateUsage]
    return _token(channel, topics, answer)


_TOKEN_PATH = "/v1/realtime/token"


def _publish_path(channel: str, topic: str, data: object) -> str:
    _check_names(channel, [topic])
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the message for channel {channel!r} has no JSON form: {error}") from error
    if size > MESSAGE_BYTES_MAX:
        raise ConfigError(
            f"the message for channel {channel!r} has {size} bytes; at most {MESSAGE_BYTES_MAX} can be "
            "published. Store it elsewhere and publish where it is"
        )
    return f"/v1/realtime/publish?{urlencode({'channel': channel, 'topic': topic})}"


def _token_request(channel: str, topics: Sequence[str]) -> list[dict[str, str]]:
    _check_names(channel, topics)
    return [{"channel": channel, "name": topic, "kind": "run"} for topic in topics]


def _check_names(channel: object, topics: object) -> None:
    if not isinstance(channel, str) or not channel:
        raise ConfigError(f"a channel is a text such as 'user:123', not {channel!r}")
    if not isinstance(topics, list | tuple) or not topics:
        raise ConfigError(f"topics are a list of at least one name, not {topics!r}")
    for topic in cast("Sequence[object]", topics):
        if not isinstance(topic, str) or not topic:
            raise ConfigError(f"a topic is a text such as 'messages', not {topic!r}")


def _check(answer: Answer, failure: str) -> None:
    if answer.is_ok:
        return
    status = f"HTTP status {answer.status}: " if answer.status else ""
    hint = ". Compare the signing key of the client with the server's" if answer.status in (401, 403) else ""
    raise ApiError(f"{failure} ({status}{answer.message()}){hint}", status=answer.status or None)


def _token(channel: str, topics: Sequence[str], answer: Answer) -> dict[str, object]:
    _check(answer, f"there is no token for channel {channel!r}")
    match answer.json():
        case {"jwt": str(key)}:
            return {"channel": channel, "topics": list(topics), "key": key}
        case _:
            raise ApiError(
                f"there is no token for channel {channel!r}: the server answered without a `jwt`: "
                f"{answer.body[:200]!r}",
                status=answer.status,
            )
