"""`inngest_encryption`: what the server sees, and what was encrypted by the official middleware."""

import json
from pathlib import Path
from typing import Any

import pytest

import inngest
from inngest.experimental import mocked
from inngest_encryption import Cipher, DecryptionError, EncryptionMiddleware
from inngest_encryption.cipher import is_encrypted

# Made once with the official packages for Python (the function output of every value, an event and an
# invocation) and for TypeScript (values). Both opened the same values when this package had encrypted them.
RECORDED = json.loads(Path(__file__).with_name("encrypted_by_official.json").read_text("utf-8"))
KEY = "my-secret-key"
TRIGGER = inngest.TriggerEvent(event="order")
CARD = {"card": "4242"}


class Wire:
    """What goes to the server and comes from it, outside of the encryption."""

    def __init__(self, *middleware: Any) -> None:
        self.outputs: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        wire = self

        class Outermost(inngest.MiddlewareSync):
            def transform_output(self, result: inngest.TransformOutputResult) -> None:
                name = result.step.id if result.step else "function"
                if result.has_output():
                    wire.outputs[name] = result.output
                elif result.step:
                    wire.options[name] = result.step.opts

        self.client = mocked.Inngest(app_id="shop", middleware=[Outermost, *middleware])

    def run(self, handler: Any, event: inngest.Event | None = None, **stubs: Any) -> mocked.Result:
        fn = self.client.create_function(fn_id="order", trigger=TRIGGER, retries=0)(handler)
        return mocked.trigger(fn, event or inngest.Event(name="order"), self.client, step_stubs=stubs)


@pytest.fixture
def wire() -> Wire:
    return Wire(EncryptionMiddleware.factory(KEY))


def decrypted(value: Any) -> Any:
    assert is_encrypted(value), f"plain on the wire: {value!r}"
    return Cipher(KEY).decrypt(value)


# The format.


@pytest.mark.parametrize("language", ["values", "typescript_values"])
@pytest.mark.parametrize("number", range(len(RECORDED["values"])))
def test_what_the_official_middleware_encrypted_is_read(language: str, number: int) -> None:
    row = RECORDED[language][number]
    assert Cipher(row["key"]).decrypt(row["encrypted"]) == row["value"]


def test_the_form_is_that_of_the_official_middleware() -> None:
    ours, theirs = Cipher(KEY).encrypt("text"), RECORDED["values"][0]["encrypted"]
    assert (ours.keys(), ours["__ENCRYPTED__"], ours["__STRATEGY__"]) == (
        theirs.keys(),
        theirs["__ENCRYPTED__"],
        theirs["__STRATEGY__"],
    )


def test_the_same_value_never_looks_the_same() -> None:
    cipher = Cipher(KEY)
    assert cipher.encrypt("text")["data"] != cipher.encrypt("text")["data"]


def test_a_key_is_text_or_the_same_as_bytes() -> None:
    assert Cipher("schlüssel".encode()).decrypt(Cipher("schlüssel").encrypt([1])) == [1]


@pytest.mark.parametrize("text", ["", "plain", "\ud800", "\x00", "🙂"])
def test_any_text_comes_back(text: str) -> None:
    assert Cipher(KEY).decrypt(Cipher(KEY).encrypt(text)) == text


@pytest.mark.parametrize("data", ["", "!", "AAAA", None, 7, "AA==" * 40])
def test_what_no_key_made_is_refused(data: object) -> None:
    forged = {"__ENCRYPTED__": True, "__STRATEGY__": "inngest/libsodium", "data": data}
    with pytest.raises(DecryptionError, match="the key does not open it"):
        Cipher(KEY).decrypt(forged)


def test_a_changed_byte_is_noticed() -> None:
    sealed = Cipher(KEY).encrypt("text")
    data = str(sealed["data"])
    with pytest.raises(DecryptionError):
        Cipher(KEY).decrypt({**sealed, "data": ("B" if data[0] == "A" else "A") + data[1:]})


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ({"__STRATEGY__": "inngest/aes"}, "the strategy 'inngest/aes'"),
        ({}, "the way of the first middleware for TypeScript"),
    ],
)
def test_another_strategy_is_named(strategy: dict[str, str], name: str) -> None:
    with pytest.raises(DecryptionError, match=f"in {name}"):
        Cipher(KEY).decrypt({"__ENCRYPTED__": True, **strategy, "data": "U2FsdGVkX19="})


@pytest.mark.parametrize("key", ["", b"", None, 7])
def test_a_key_that_is_none_is_refused_when_the_app_starts(key: Any) -> None:
    with pytest.raises(inngest.errors.ConfigError, match="an encryption key is"):
        EncryptionMiddleware.factory(key)
    with pytest.raises(inngest.errors.ConfigError, match="an encryption key is"):
        EncryptionMiddleware.factory(KEY, fallback_decryption_keys=[key])


def test_one_fallback_key_is_not_taken_for_a_list_of_its_letters() -> None:
    with pytest.raises(inngest.errors.ConfigError, match="is a list of keys"):
        EncryptionMiddleware.factory(KEY, fallback_decryption_keys="old")


# What goes to the server.


async def async_steps(ctx: inngest.Context) -> Any:
    loaded = await ctx.step.run("load", lambda: {"n": 1})
    nothing = await ctx.step.run("nothing", lambda: None)
    await ctx.step.sleep("wait", "1d")
    return [loaded, nothing]


def plain_steps(ctx: inngest.ContextSync) -> Any:
    loaded = ctx.step.run("load", lambda: {"n": 1})
    nothing = ctx.step.run("nothing", lambda: None)
    ctx.step.sleep("wait", "1d")
    return [loaded, nothing]


@pytest.mark.parametrize("handler", [async_steps, plain_steps])
def test_outputs_of_steps_and_of_the_function_are_encrypted(wire: Wire, handler: Any) -> None:
    wire.run(handler)

    assert {name: decrypted(output) for name, output in wire.outputs.items()} == {
        "load": {"n": 1},
        "nothing": None,
        "function": [{"n": 1}, None],
    }


def test_middleware_after_it_sees_plain_values() -> None:
    seen: list[Any] = []

    class Inner(inngest.MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
            seen.append([output.data for output in steps.values()])

        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            seen.append(result.output)

    def order(ctx: inngest.ContextSync) -> int:
        return ctx.step.run("load", lambda: 1) + 1

    Wire(EncryptionMiddleware.factory(KEY), Inner).run(order)

    assert seen == [[], 1, [1], 2]


def test_errors_stay_readable(wire: Wire) -> None:
    def order(ctx: inngest.ContextSync) -> None:
        ctx.step.run("load", lambda: 1 / 0)

    assert isinstance(wire.run(order).error, ZeroDivisionError)
    assert wire.outputs == {}


@pytest.mark.parametrize("sender", ["step", "client", "sync"])
def test_the_field_of_sent_events_is_encrypted_and_the_senders_own_event_is_not(
    wire: Wire, sender: str
) -> None:
    event = inngest.Event(name="paid", data={"encrypted": CARD, "plain": 1})

    async def order(ctx: inngest.Context) -> None:
        if sender == "step":
            await ctx.step.send_event("tell", event)
        elif sender == "client":
            await wire.client.send(event)
        else:
            wire.client.send_sync(event)

    (sent,) = wire.run(order).sent_events

    assert decrypted(sent.data["encrypted"]) == CARD
    assert sent.data["plain"] == 1
    assert event.data == {"encrypted": CARD, "plain": 1}


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_the_field_of_the_data_of_an_invocation_is_encrypted(wire: Wire, kind: str) -> None:
    async def order(ctx: inngest.Context) -> None:
        await ctx.step.invoke_by_id("pay", function_id="pay", data={"encrypted": CARD, "plain": 1})

    def order_sync(ctx: inngest.ContextSync) -> None:
        ctx.step.invoke_by_id("pay", function_id="pay", data={"encrypted": CARD, "plain": 1})

    wire.run(order if kind == "async" else order_sync, pay=None)

    payload = wire.options["pay"]["payload"]
    assert decrypted(payload["data"]["encrypted"]) == CARD
    assert payload["data"]["plain"] == 1


def test_another_field_may_be_the_encrypted_one() -> None:
    wire = Wire(EncryptionMiddleware.factory(KEY, event_encryption_field="private"))

    async def order(ctx: inngest.Context) -> Any:
        await ctx.step.send_event("tell", inngest.Event(name="a", data={"private": 1, "encrypted": 2}))
        return ctx.event.data

    event = inngest.Event(name="order", data={"private": Cipher(KEY).encrypt(3)})
    run = wire.run(order, event)

    assert decrypted(wire.outputs["function"]) == {"private": 3}
    (sent,) = run.sent_events
    assert (decrypted(sent.data["private"]), sent.data["encrypted"]) == (1, 2)


def test_decrypt_only_reads_and_leaves_everything_plain() -> None:
    wire = Wire(EncryptionMiddleware.factory(KEY, decrypt_only=True))

    async def order(ctx: inngest.Context) -> Any:
        await ctx.step.send_event("tell", inngest.Event(name="a", data={"encrypted": 1}))
        await ctx.step.invoke_by_id("pay", function_id="pay", data={"encrypted": 2})
        return ctx.event.data["encrypted"]

    run = wire.run(order, inngest.Event(name="order", data={"encrypted": Cipher(KEY).encrypt(3)}), pay=None)

    assert wire.outputs["function"] == 3
    assert run.sent_events[0].data == {"encrypted": 1}
    assert wire.options["pay"]["payload"]["data"] == {"encrypted": 2}


# What comes from the server.


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_an_event_that_the_official_middleware_encrypted_is_read(wire: Wire, kind: str) -> None:
    recorded = inngest.Event.model_validate(RECORDED["event"])

    async def order(ctx: inngest.Context) -> Any:
        return [ctx.event.data, [event.data for event in ctx.events]]

    def order_sync(ctx: inngest.ContextSync) -> Any:
        return [ctx.event.data, [event.data for event in ctx.events]]

    wire.run(order if kind == "async" else order_sync, recorded)

    data = {"encrypted": CARD, "plain": 1}
    assert decrypted(wire.outputs["function"]) == [data, [data]]


def test_event_data_that_is_encrypted_as_a_whole_is_read(wire: Wire) -> None:
    async def order(ctx: inngest.Context) -> Any:
        return ctx.event.data["a"]

    wire.run(order, inngest.Event(name="order", data=Cipher(KEY).encrypt({"a": 1})))

    assert decrypted(wire.outputs["function"]) == 1


def test_the_event_that_a_wait_came_to_is_read(wire: Wire) -> None:
    async def order(ctx: inngest.Context) -> Any:
        reply = await ctx.step.wait_for_event("reply", event="reply", timeout="1d")
        return reply and reply.data

    wire.run(order, reply=inngest.Event(name="reply", data={"encrypted": Cipher(KEY).encrypt("yes"), "b": 1}))

    assert decrypted(wire.outputs["function"]) == {"encrypted": "yes", "b": 1}


def test_the_encrypted_result_of_an_invoked_function_is_read(wire: Wire) -> None:
    async def order(ctx: inngest.Context) -> Any:
        return await ctx.step.invoke_by_id("pay", function_id="pay")

    wire.run(order, pay=Cipher(KEY).encrypt({"receipt": 1}))

    assert decrypted(wire.outputs["function"]) == {"receipt": 1}


@pytest.mark.parametrize("name", ["failed", "finished", "cancelled"])
def test_what_an_event_about_a_run_has_of_it_is_read(wire: Wire, name: str) -> None:
    """As in `on_failure`, which finds the run's own event there."""
    own = {"name": "order", "data": {"encrypted": Cipher(KEY).encrypt(CARD), "plain": 1}}
    data = {"run_id": "r", "event": own, "events": [own], "result": Cipher(KEY).encrypt("done")}

    async def order(ctx: inngest.Context) -> Any:
        return ctx.event.data

    wire.run(order, inngest.Event(name=f"inngest/function.{name}", data=data))

    readable = {"name": "order", "data": {"encrypted": CARD, "plain": 1}}
    expected = {"run_id": "r", "event": readable, "events": [readable], "result": "done"}
    assert decrypted(wire.outputs["function"]) == expected


def test_other_events_are_not_searched_for_more(wire: Wire) -> None:
    inner = {"name": "order", "data": {"encrypted": Cipher(KEY).encrypt(CARD)}}

    async def order(ctx: inngest.Context) -> Any:
        return ctx.event.data["event"]

    wire.run(order, inngest.Event(name="shop/function.failed", data={"event": inner}))

    assert decrypted(wire.outputs["function"]) == inner


def test_plain_events_and_results_are_read_as_they_are(wire: Wire) -> None:
    """While encryption is being introduced."""

    async def order(ctx: inngest.Context) -> Any:
        return [ctx.event.data, await ctx.step.invoke_by_id("pay", function_id="pay")]

    wire.run(
        order,
        inngest.Event(name="order", data={"encrypted": 1}),
        pay={"name": "Ann", "data": {"encrypted": 2}},
    )

    assert decrypted(wire.outputs["function"]) == [
        {"encrypted": 1},
        {"name": "Ann", "data": {"encrypted": 2}},
    ]


def test_rotating_a_key_leaves_no_moment_in_which_something_cannot_be_read() -> None:
    old, new = "old", "new"
    phases = [
        EncryptionMiddleware.factory(old),
        EncryptionMiddleware.factory(old, fallback_decryption_keys=[new]),
        EncryptionMiddleware.factory(new, fallback_decryption_keys=[old]),
        EncryptionMiddleware.factory(new),
    ]

    async def order(ctx: inngest.Context) -> Any:
        await ctx.step.send_event("tell", inngest.Event(name="a", data={"encrypted": 1}))
        return ctx.event.data.get("encrypted")

    # During a deployment, neighbouring phases are there at the same time: each reads what the other sends.
    for number, sender in enumerate(phases):
        (sent,) = Wire(sender).run(order).sent_events
        for reader in phases[max(number - 1, 0) : number + 2]:
            assert Wire(reader).run(order, sent).error is None


def test_without_the_right_key_the_run_fails_and_says_where_the_key_belongs(wire: Wire) -> None:
    async def order(ctx: inngest.Context) -> None: ...

    run = wire.run(order, inngest.Event(name="order", data={"encrypted": Cipher("other").encrypt(1)}))

    assert run.status is mocked.Status.FAILED
    assert "fallback_decryption_keys" in str(run.error)
