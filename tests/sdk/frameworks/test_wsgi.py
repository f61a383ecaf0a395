"""What plain WSGI adds to the contract: the rest of an application, and bodies of unknown length."""

import io
from collections.abc import Iterable
from typing import Any

import inngest.wsgi
from tests.sdk.frameworks.calls import call, sync_functions
from tests.sdk.frameworks.exchange import Message, WSGIExchange, environ_of
from tests.sdk.frameworks.server import FakeServer


def app_of(server: FakeServer, **options: Any) -> Any:
    client = server.client()
    return inngest.wsgi.serve(client, sync_functions(client), **options)


def answer_to(app: Any, environ: dict[str, Any]) -> tuple[str, bytes]:
    statuses: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        statuses.append(status)

    body = b"".join(app(environ, start_response))
    return statuses[0], body


class Trickling(io.BytesIO):
    """Gives a byte at a time, as a slow socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1)


async def test_everything_else_goes_to_the_other_application(server: FakeServer) -> None:
    def other(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    exchange = WSGIExchange(app_of(server, app=other))

    assert (await exchange(Message("GET", "/elsewhere"))).body == b"/elsewhere"
    assert (await exchange(Message("GET"))).headers["x-inngest-sdk"]


async def test_mounted_at_a_path_of_its_own_it_answers_there(server: FakeServer) -> None:
    reply = await WSGIExchange(app_of(server))(Message("PUT", "/jobs", {}, b"{}", prefix="/jobs"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/jobs"


async def test_a_body_that_comes_in_pieces_is_read_whole(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2}, steps={"one": 1})
    environ = {**environ_of(message), "wsgi.input": Trickling(message.body)}

    assert answer_to(app_of(server), environ) == ("200 OK", b'{"sum":3}')


async def test_a_body_without_a_length_is_read_where_the_server_ends_it(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2}, steps={"one": 1})
    environ = {**environ_of(message), "wsgi.input_terminated": True}
    del environ["CONTENT_LENGTH"]

    assert answer_to(app_of(server), environ) == ("200 OK", b'{"sum":3}')


async def test_nothing_is_read_where_the_end_of_a_body_cannot_be_known(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2})
    environ = environ_of(message)
    del environ["CONTENT_LENGTH"]

    answer_to(app_of(server), environ)

    assert environ["wsgi.input"].tell() == 0


async def test_without_a_host_header_the_server_s_own_name_counts(server: FakeServer) -> None:
    environ = environ_of(Message("PUT", body=b"{}"))
    del environ["HTTP_HOST"]

    answer_to(app_of(server), environ)

    assert server.registrations[0].body["url"] == "http://127.0.0.1:80/api/inngest"
