"""Samples of realtime, whose server side comes later: here a server that only notes what it is asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fastapi
import httpx
import pytest

import inngest
from inngest.experimental import mocked, realtime
from tests.sdk.samples.conftest import Show

Asked = list[tuple[str, dict[str, list[str]], Any]]


class Server(ThreadingHTTPServer):
    """Answers any request, and keeps path, query and body of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Asked = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((url.path, parse_qs(url.query), json.loads(body)))
        answer = b'{"jwt": "a-token"}'
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Standard error belongs to the tests."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        monkeypatch.setenv("INNGEST_DEV", made.url)
        yield made
        made.shutdown()
        thread.join()


def test_a_step_publishes(show: Show, server: Server) -> None:
    function = show("PY-46").play().python_realtime_publish
    result = mocked.trigger(function, inngest.Event(name="realtime.test"), mocked.Inngest(app_id="test"))

    assert (result.status, result.output) == (mocked.Status.COMPLETED, "Finished!")
    assert server.asked == [
        (
            "/v1/realtime/publish",
            {"channel": ["user:user_123456789"], "topic": ["messages"]},
            {"message": "My llm response from python!"},
        )
    ]


@pytest.mark.parametrize(
    ("sample", "path"), [("PY-45", "/api/get_subscription_token"), ("PY-47", "/api/get-subscription-token")]
)
def test_a_route_gives_a_browser_its_token(show: Show, server: Server, sample: str, path: str) -> None:
    """On the page the lines after the first belong to no function: they are moved into it."""
    app = fastapi.FastAPI()
    shown = show(sample).edited(into_the_function)
    shown.play(app=app, session={"user_id": "u1"}, realtime=realtime)
    status, text = asyncio.run(get(app, path))

    assert status == 200
    assert "a-token" in text
    assert [path for path, _, _ in server.asked] == ["/v1/realtime/token"]
    assert server.asked[0][2] == [{"channel": "user:u1", "name": "messages", "kind": "run"}]


async def get(app: fastapi.FastAPI, path: str) -> tuple[int, str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        answer = await browser.get(path)
        return answer.status_code, answer.text


def into_the_function(text: str) -> str:
    head, _, rest = text.partition("get_realtime_token():\n")
    lines = [line.strip() for line in rest.splitlines()]
    return head + "get_realtime_token():\n" + "".join(indent(line) for line in lines)


def indent(line: str) -> str:
    is_argument = line.startswith(("client=", "channel=", "topics="))
    return f"{'        ' if is_argument else '    '}{line}\n"
