"""How apps are reached: callables of both kinds, addresses, and names that only production knows."""

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from inngest_server.testing import AsyncWorld, World
from inngest_server.testing.errors import AppNotServedError, RefusedError
from inngest_server.testing.mounts import is_asgi
from tests.support.processes import free_port
from tests.testing.apps import App, Steps
from tests.testing.serving import served


def order(event: dict[str, Any], steps: Steps) -> Any:
    paid = steps.run("charge", lambda: {"paid": event["data"]["amount"]})
    steps.sleep("cool off", "3d")
    return paid


def where(event: dict[str, Any], steps: Steps) -> Any:
    return threading.current_thread().name


class TestKinds:
    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    def test_an_app_is_called_in_process(self, world: World, kind: str) -> None:
        assert world.serve(getattr(App(order=order), kind)) == ["shop-order"]
        run = world.send("order", {"amount": 5}).run
        world.advance(days=3)
        assert run.output == {"paid": 5}

    def test_an_app_in_another_process_is_called_by_its_address(self, world: World) -> None:
        with served(App(order=order)) as url:
            assert world.serve(url) == ["shop-order"]
            run = world.send("order", {"amount": 5}).run
            world.advance(days=3)
            assert run.output == {"paid": 5}

    def test_kinds_are_told_apart(self) -> None:
        class Both:
            async def asgi(self, scope: Any, receive: Any, send: Any) -> None: ...
            def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
                return []

        class Asgi:
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

        class Wrapped:
            def __call__(self, scope: Any, receive: Any, send: Any) -> Any: ...

        class Wsgi:
            def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
                return []

        assert all(map(is_asgi, [Both().asgi, Asgi(), Wrapped(), partial(Both().asgi)]))
        assert not any(map(is_asgi, [Both().wsgi, Wsgi(), lambda environ, start_response: []]))

    @pytest.mark.parametrize("app", [5, lambda request: None, ["http://localhost"]])
    def test_what_is_no_app_is_refused(self, world: World, app: Any) -> None:
        with pytest.raises(TypeError, match="give its address"):
            world.serve(app)

    def test_wsgi_apps_run_on_the_thread_of_the_test(self, world: World) -> None:
        world.serve(App(where=where).wsgi)
        assert world.send("where", {}).run.output == threading.current_thread().name

    def test_wsgi_apps_share_the_connection_of_the_test(self, world: World) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:  # It refuses every other thread.
            connection.execute("CREATE TABLE orders (id)")
            connection.execute("INSERT INTO orders VALUES (7)")
            app = App(first=lambda event, steps: connection.execute("SELECT id FROM orders").fetchall())
            world.serve(app.wsgi)
            assert world.send("first", {}).run.output == [[7]]

    def test_asgi_apps_may_block_and_ask_the_server(self, world: World) -> None:
        app = App()
        app.functions["tell"] = lambda event, steps: app.post("/e/key", {"name": "told"})["status"]
        world.serve(app.asgi)
        assert world.send("tell", {}).run.output == 200

    def test_a_path_and_a_host_can_be_chosen(self, world: World) -> None:
        seen: list[str] = []
        app = App(order=order)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                seen.append(dict(scope["headers"])[b"host"].decode() + scope["path"])
            await app.asgi(scope, receive, send)

        world.serve(noting, path="/hooks", host="shop.example.com:1234")
        world.send("order", {"amount": 5})
        assert set(seen) == {"shop.example.com:1234/hooks"}


class TestNames:
    @pytest.mark.parametrize("origin", ["https://shop.example.com", "http://127.0.0.1:3000"])
    def test_an_app_may_name_an_address_of_production(self, world: World, origin: str) -> None:
        app = App(order=order)
        app.origin = origin
        world.serve(app.asgi)
        run = world.send("order", {"amount": 5}).run
        world.advance(days=3)
        assert run.output == {"paid": 5}

    def test_an_app_that_registers_elsewhere_is_told_what_to_set(self, world: World) -> None:
        app = App(order=order)
        app.registers = False
        with pytest.raises(AppNotServedError, match="inngest = true"):
            world.serve(app.asgi)

    def test_an_app_that_asks_another_server_is_told_so_too(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INNGEST_DEV", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(AppNotServedError, match="inngest = true"):
            world.serve(App(order=order).asgi)

    def test_nothing_listens_there(self, world: World) -> None:
        with pytest.raises(AppNotServedError, match="unreachable"):
            world.serve(f"http://127.0.0.1:{free_port()}/api/inngest")


class TestFailures:
    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    def test_an_app_that_crashes_shows_its_traceback(self, world: World, kind: str) -> None:
        app = App(order=order)
        app.retries = 0

        def crash(function: str) -> None:
            raise ZeroDivisionError("far below")

        app.before_answer = crash
        world.serve(getattr(app, kind))
        run = world.send("order", {}).run
        assert run.status == "Failed"
        assert run.error is not None
        assert "ZeroDivisionError: far below" in run.error.stack

    def test_an_asgi_app_without_an_answer_failed(self, world: World) -> None:
        app = App(order=order)
        app.retries = 0

        async def silent(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["method"] == "PUT":
                await app.asgi(scope, receive, send)

        world.serve(silent)
        run = world.send("order", {}).run
        assert run.error is not None
        assert "without an answer" in run.error.stack


class TestLifespan:
    def test_an_app_is_started_and_stopped(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        app = App(order=order)

        async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":
                assert scope["state"]["pool"] == "open"
                await app.asgi(scope, receive, send)
                return
            said.append((await receive())["type"])
            scope["state"]["pool"] = "open"
            await send({"type": "lifespan.startup.complete"})
            said.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})

        with World(host=host) as world:
            monkeypatch.setenv("INNGEST_DEV", world.url)
            world.serve(with_lifespan)
            assert said == ["lifespan.startup"]
        assert said == ["lifespan.startup", "lifespan.shutdown"]

    def test_an_app_that_fails_to_start_is_not_served(self, world: World) -> None:
        async def broken(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        with pytest.raises(RuntimeError, match="no database"):
            world.serve(broken)


class TestLogs:
    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    def test_what_an_app_logs_belongs_to_its_run(self, world: World, kind: str) -> None:
        def speak(event: dict[str, Any], steps: Steps) -> None:
            logging.getLogger("shop").warning("hello %s", event["data"]["who"])

        world.serve(getattr(App(speak=speak), kind))
        ann = world.send("speak", {"who": "ann"}).run
        bob = world.send("speak", {"who": "bob"}).run
        logging.getLogger("shop").warning("not of a run")
        assert [record.getMessage() for record in ann.logs] == ["hello ann"]
        assert [record.getMessage() for record in bob.logs] == ["hello bob"]
        assert len(world.logs) == 2

    def test_a_thread_that_does_not_know_its_run_works_for_the_only_one(self, world: World) -> None:
        def speak(event: dict[str, Any], steps: Steps) -> None:
            thread = threading.Thread(target=logging.getLogger("shop").warning, args=("hello",))
            thread.start()
            thread.join()

        world.serve(App(speak=speak).asgi)
        run = world.send("speak", {}).run
        assert [record.getMessage() for record in run.logs] == ["hello"]


class TestAsync:
    async def test_apps_run_on_the_loop_of_the_test(self, async_world: AsyncWorld) -> None:
        loops: list[Any] = []
        app = App(order=order)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            loops.append(asyncio.get_running_loop())
            await app.asgi(scope, receive, send)

        await async_world.serve(noting)
        run = (await async_world.send("order", {"amount": 5})).run
        assert run.status == "Running"
        await async_world.advance(days=3)
        assert run.output == {"paid": 5}
        assert set(loops) == {asyncio.get_running_loop()}

    async def test_wsgi_apps_run_on_threads(self, async_world: AsyncWorld) -> None:
        await async_world.serve(App(where=where).wsgi)
        run = (await async_world.send("where", {})).run
        assert run.output.startswith("inngest-apps")

    async def test_every_command_can_be_awaited(self, async_world: AsyncWorld) -> None:
        app = App(order=order, echo=lambda event, steps: event["data"].get("a"))
        app.functions["ask"] = lambda event, steps: steps.wait_for_signal("s", "go", "1d")
        app.functions["call"] = lambda event, steps: steps.invoke("c", "other-f")
        await async_world.serve(app.wsgi)
        await async_world.stub_function("other-f", "stubbed")
        run = (await async_world.send("order", {"amount": 5})).run
        await run.cancel()
        again = await run.rerun()
        await async_world.until_idle()
        assert (run.status, again.status) == ("Cancelled", "Completed")
        assert (await async_world.invoke("echo", {"a": 1})).output == 1
        asking = (await async_world.send("ask", {})).run
        assert await async_world.send_signal("go") == asking
        assert (await async_world.send("call", {})).run.output == "stubbed"
        await async_world.pause_function("echo")
        assert (await async_world.send("echo", {})).run.status == "Skipped"
        await async_world.resume_function("echo")
        with pytest.raises(RefusedError):
            await async_world.invoke("nothing")
        await async_world.check_histories([again.history])
        assert len(async_world.runs("order")) == 2

    async def test_an_address_is_served_too(self, async_world: AsyncWorld) -> None:
        with served(App(order=order)) as url:
            assert await async_world.serve(url) == ["shop-order"]
