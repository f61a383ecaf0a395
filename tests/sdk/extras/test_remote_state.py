"""`remote_state_middleware`: step outputs in a store of the user's own."""

import asyncio
import io
import json
import threading
from typing import Any

import pytest

import inngest
from inngest.experimental import mocked
from inngest.experimental import remote_state_middleware as remote_state

EVENT = inngest.Event(name="order")
TRIGGER = inngest.TriggerEvent(event="order")
OUTPUT = {"items": [1, 2], "note": "grüß"}


class Bucket:
    """An S3 client of memory."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.threads: set[int] = set()

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        self.threads.add(threading.get_ident())
        return {"Body": io.BytesIO(self.objects[Bucket, Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> Any:
        self.threads.add(threading.get_ident())
        self.objects[Bucket, Key] = Body
        return {}


def client_with(driver: remote_state.StateDriver, *others: Any) -> mocked.Inngest:
    middleware = [remote_state.RemoteStateMiddleware.factory(driver), *others]
    return mocked.Inngest(app_id="test", middleware=middleware)


def reported_by(client: mocked.Inngest) -> list[Any]:
    """Outputs as they go to the server, from now on."""
    outputs: list[Any] = []

    class Last(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            if result.has_output():
                outputs.append(result.output)

    client.middleware.insert(0, Last)
    return outputs


async def two_steps(ctx: inngest.Context) -> Any:
    first = await ctx.step.run("first", lambda: OUTPUT)
    nothing = await ctx.step.run("nothing", lambda: None)
    return [first, nothing]


def two_steps_sync(ctx: inngest.ContextSync) -> Any:
    first = ctx.step.run("first", lambda: OUTPUT)
    nothing = ctx.step.run("nothing", lambda: None)
    return [first, nothing]


@pytest.mark.parametrize("handler", [two_steps, two_steps_sync])
@pytest.mark.parametrize("store", ["memory", "s3"])
def test_the_server_gets_references_and_the_code_gets_outputs(handler: Any, store: str) -> None:
    memory, s3 = remote_state.InMemoryDriver(), remote_state.S3Driver(bucket="outputs", client=Bucket())
    client = client_with(memory if store == "memory" else s3)
    reported = reported_by(client)
    fn = client.create_function(fn_id="order", trigger=TRIGGER)(handler)

    run = mocked.trigger(fn, EVENT, client)

    assert run.output == [OUTPUT, None]
    first, second, own_output = reported
    for reference in (first, second):
        assert reference["__REMOTE_STATE__"] is True
        assert reference["__STRATEGY__"] == f"inngest/{store}"
    assert first["key"] != second["key"]
    assert own_output == [OUTPUT, None], "a function's output is for others, who cannot read the store"


def test_s3_objects_lie_below_the_run_and_hold_json() -> None:
    bucket = Bucket()
    client = client_with(remote_state.S3Driver(bucket="outputs", client=bucket))
    reported = reported_by(client)
    fn = client.create_function(fn_id="order", trigger=TRIGGER)(two_steps)

    mocked.trigger(fn, EVENT, client)

    ((name, key), body), _ = bucket.objects.items()
    assert (name, reported[0]["bucket"], reported[0]["key"]) == ("outputs", "outputs", key)
    assert key.startswith("inngest/remote_state/test/")
    assert json.loads(body) == OUTPUT


def test_outputs_of_many_steps_are_loaded_in_their_places() -> None:
    driver = remote_state.S3Driver(bucket="outputs", client=Bucket())
    raw = {str(n): {"data": driver.save_step("run", n) if n % 3 else n} for n in range(40)}
    memos = inngest.StepMemos.from_raw(raw)

    driver.load_steps(memos)

    assert [output.data for output in memos.values()] == list(range(40))


def test_a_failed_step_stores_nothing() -> None:
    bucket = Bucket()
    client = client_with(remote_state.S3Driver(bucket="outputs", client=bucket))

    @client.create_function(fn_id="order", trigger=TRIGGER, retries=0)
    def order(ctx: inngest.ContextSync) -> None:
        ctx.step.run("broken", lambda: 1 / 0)

    assert isinstance(mocked.trigger(order, EVENT, client).error, ZeroDivisionError)
    assert bucket.objects == {}


def test_a_driver_that_blocks_never_runs_on_the_event_loop() -> None:
    bucket = Bucket()
    client = client_with(remote_state.S3Driver(bucket="outputs", client=bucket))
    loops: set[int] = set()

    @client.create_function(fn_id="order", trigger=TRIGGER)
    async def order(ctx: inngest.Context) -> None:
        asyncio.get_running_loop()
        loops.add(threading.get_ident())
        await ctx.step.run("first", lambda: OUTPUT)

    mocked.trigger(order, EVENT, client)

    assert bucket.threads
    assert not bucket.threads & loops


def test_a_driver_that_does_not_say_so_runs_where_the_function_does() -> None:
    """Drivers of users may hold what belongs to a thread, such as an SQLite connection."""
    threads: set[int] = set()

    class Driver:
        def load_steps(self, steps: inngest.StepMemos) -> None:
            threads.add(threading.get_ident())

        def save_step(self, run_id: str, value: object) -> dict[str, object]:
            threads.add(threading.get_ident())
            return {"run": run_id, "value": value}

    client = client_with(Driver())

    @client.create_function(fn_id="order", trigger=TRIGGER)
    async def order(ctx: inngest.Context) -> Any:
        return await ctx.step.run("first", lambda: 1)

    assert mocked.trigger(order, EVENT, client).output == {"run": "test", "value": 1}
    assert threads == {threading.get_ident()}


def test_outputs_of_several_drivers_stand_beside_each_other() -> None:
    """As while moving from one store to another."""
    old, new = remote_state.InMemoryDriver(), remote_state.S3Driver(bucket="outputs", client=Bucket())
    client = client_with(old, remote_state.RemoteStateMiddleware.factory(new))
    memos = inngest.StepMemos.from_raw(
        {"a": {"data": old.save_step("run", 1)}, "b": {"data": new.save_step("run", 2)}, "c": {"data": 3}}
    )

    old.load_steps(memos)
    new.load_steps(memos)

    assert [output.data for output in memos.values()] == [1, 2, 3]
    assert len(client.middleware) == 2


def test_an_output_that_another_process_has_in_memory_is_an_error_that_says_so() -> None:
    reference = remote_state.InMemoryDriver().save_step("run", 1)
    memos = inngest.StepMemos.from_raw({"a": {"data": reference}})

    with pytest.raises(remote_state.RemoteStateError, match="another one stored it"):
        remote_state.InMemoryDriver().load_steps(memos)


@pytest.mark.parametrize(
    "place",
    [{"bucket": "secrets"}, {"key": "private/data.json"}, {"key": None}, {"bucket": None}],
)
def test_a_forged_reference_reads_no_other_object(place: dict[str, Any]) -> None:
    bucket = Bucket()
    driver = remote_state.S3Driver(bucket="outputs", client=bucket)
    reference = {**driver.save_step("run", 1), **place}
    for name in ("outputs", "secrets"):
        bucket.objects[name, "private/data.json"] = b'"secret"'

    with pytest.raises(remote_state.RemoteStateError, match="reads only bucket 'outputs' below"):
        driver.load_steps(inngest.StepMemos.from_raw({"a": {"data": reference}}))
