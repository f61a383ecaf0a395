"""Samples of steps: run, sleep, sleep until, wait, invoke, send."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import inngest
from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import Calls, error_of, lasted_s, module_and_client, run, serve, serve_functions
from tests.sdk.samples.shown import body, in_handler, put

# Run.


@pytest.mark.parametrize("sample", ["PY-23", "PY-32", "S-35"])
def test_a_step_hands_its_output_to_the_next(show: Show, world: World, sample: str) -> None:
    calls = Calls()
    module = show(sample).play(
        db=SimpleNamespace(syncs=calls), get_data_from_external_source=lambda: {"rows": [1, 2]}
    )
    serve(world, module)

    assert run(world, "auto/sync.request").status == "Completed"
    assert calls.made == [("insert_one", ({"rows": [1, 2]},), {})]


def test_a_function_without_steps(show: Show, world: World) -> None:
    """Annotated `Context` though it is a plain function: the annotation decides nothing."""
    calls = Calls()
    serve(world, show("PY-21").play(db=SimpleNamespace(clicks=calls)))

    assert run(world, "app/button.clicked", {"x": 1}).status == "Completed"
    assert calls.made == [("insert_one", ({"x": 1},), {})]


def test_arguments_go_to_the_step_s_function(
    show: Show, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(world, show("S-25").play(functools=functools))
    ended = run(world, "app/my_function", {"user_id": "ada"})

    assert ended.status == "Completed"
    assert list(ended.steps) == [
        "my_fn",
        "my_fn_with_args",
        "my_fn_with_args_and_kwargs",
        "use_scoped_variable",
    ]
    assert capsys.readouterr().out == "ada\n"


def test_each_request_runs_the_code_before_its_step(
    show: Show, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's output, in which `hello` comes again with each request, needs a request for each step."""
    client = inngest.Inngest(app_id="docs", checkpointing=False)
    serve(world, show("P-31").play(inngest_client=client))

    assert run(world, "test/simple.function").status == "Completed"
    assert capsys.readouterr().out.split() == ["hello", "a", "hello", "b", "hello", "c", "hello"]


def test_with_checkpoints_one_request_runs_all_steps(
    show: Show, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(world, show("P-31").play())

    assert run(world, "test/simple.function").status == "Completed"
    assert capsys.readouterr().out.split() == ["hello", "a", "b", "c"]


@pytest.mark.parametrize("checkpointing", [True, False])
def test_code_in_steps_runs_once(
    show: Show, world: World, capsys: pytest.CaptureFixture[str], checkpointing: bool
) -> None:
    """A lambda that is no coroutine function is a step in an async function too."""
    client = inngest.Inngest(app_id="docs", checkpointing=checkpointing)
    serve(world, show("P-32").play(inngest_client=client))

    assert run(world, "test/simple.function").status == "Completed"
    assert capsys.readouterr().out.split() == ["hello", "a", "b", "c"]


@pytest.mark.parametrize(
    ("sample", "event", "field"),
    [
        ("P-34", "shop/product.imported", "imageURLs"),
        ("P-35a", "shop/product.imported", "image_urls"),
        ("P-35b", "shop/product.imported", "image_urls"),
    ],
)
def test_a_lambda_is_a_step(show: Show, world: World, sample: str, event: str, field: str) -> None:
    calls = Calls({"copy_all_images_to_s3": ["s3://1"]})
    module = show(sample).play(copy_all_images_to_s3=calls.copy_all_images_to_s3, resizer=calls)
    serve(world, module)

    assert run(world, event, {field: ["http://1"]}).status == "Completed"
    assert calls.made[0] == ("copy_all_images_to_s3", (["http://1"],), {})
    assert calls.made[1:] in (
        [],
        [("bulk", (), {"urls": ["s3://1"], "quality": 0.9, "max_width": 1024})],
    )


class Shopify:
    """Ninety products in pages of fifty; a session for a store."""

    async def get_shopify_session(self, store_id: str) -> str:
        return f"session of {store_id}"

    def all(self, *, session: str, since_id: int | None) -> dict[str, Any]:
        assert session == "session of s1"
        first = 0 if since_id is None else since_id
        return {"products": [{"id": number} for number in range(first + 1, min(first + 50, 90) + 1)]}


def shopify_names(client: inngest.Inngest) -> dict[str, Any]:
    shopify = Shopify()
    return {
        "inngest_client": client,
        "inngest": module_and_client(client),
        "database": shopify,
        "shopify": SimpleNamespace(Product=shopify),
    }


def test_the_output_of_a_step_is_json_so_it_has_no_attributes(show: Show, world: World) -> None:
    serve(world, show("P-33").play(**shopify_names(inngest.Inngest(app_id="docs"))))
    ended = run(world, "shopify/import.requested", {"store_id": "s1"})

    assert error_of(ended).name == "AttributeError"
    assert "products" in error_of(ended).message


def test_steps_in_a_loop(show: Show, world: World) -> None:
    """The same with items of dictionaries: each page is a step of its own."""
    shown = show("P-33").edited(
        put("page.products[49].id", 'page["products"][49]["id"]'), put("page.products", 'page["products"]')
    )
    serve(world, shown.play(**shopify_names(inngest.Inngest(app_id="docs"))))
    ended = run(world, "shopify/import.requested", {"store_id": "s1"})

    assert ended.status == "Completed"
    assert list(ended.steps) == ["fetch-products-None", "fetch-products-50"]


# Time.


@pytest.mark.parametrize(
    ("sample", "event", "slept"),
    [
        ("PY-28", "app/my_function", timedelta(seconds=2)),
        ("S-28", "app/my_function", timedelta(seconds=2)),
        ("P-09", "app/user.created", timedelta(hours=4)),
        ("P-36", "app/user.signup", timedelta(days=2)),
    ],
)
def test_a_sleep_takes_as_long_as_it_says(
    show: Show, world: World, sample: str, event: str, slept: timedelta
) -> None:
    serve(world, show(sample).play())
    ended = run(world, event)

    assert ended.status == "Completed"
    assert lasted_s(ended) == pytest.approx(slept.total_seconds(), abs=10)


@pytest.mark.parametrize("sample", ["PY-29", "S-27"])
def test_a_naive_moment_is_local_time(
    show: Show, world: World, monkeypatch: pytest.MonkeyPatch, sample: str
) -> None:
    """In a zone that is hours from UTC two seconds are still two seconds."""
    with zone(monkeypatch, "Asia/Tokyo"):
        serve(world, show(sample).play())
        ended = run(world, "app/my_function")

    assert ended.status == "Completed"
    assert lasted_s(ended) == pytest.approx(2, abs=10)


@contextmanager
def zone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """The time zone of this process for a while."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("sample", ["PY-50", "P-10"])
def test_a_moment_in_the_past_is_no_wait(show: Show, world: World, sample: str) -> None:
    """It is a text on the page."""
    sent: list[dict[str, str]] = []

    async def send_email(**mail: str) -> None:
        sent.append(mail)

    serve(world, show(sample).play(sesclient=SimpleNamespace(send_email=send_email)))
    ended = run(world, "app/user.created", {"user_email": "ada@example.com"})

    assert ended.status == "Completed"
    assert sent == [{"to": "ada@example.com", "subject": "Welcome to Inngest!", "message": "..."}]
    assert lasted_s(ended) == pytest.approx(0, abs=10)


@pytest.mark.parametrize("sample", ["PY-13", "PY-14"])
def test_a_moment_comes_from_the_event(show: Show, world: World, sample: str) -> None:
    at = datetime.now(UTC) + timedelta(days=3)
    serve(world, show(sample).play())
    ended = run(world, "tasks/reminder.created", {"remind_at": at.isoformat()})

    assert ended.status == "Completed"
    assert list(ended.steps)[-1] == "send-reminder-push"
    assert lasted_s(ended) == pytest.approx(3 * 86_400, abs=60)


def test_a_number_is_no_moment_since_nobody_knows_its_unit(show: Show, world: World) -> None:
    """Seconds in Python, milliseconds in JavaScript: the error says what is taken, and is not tried again."""
    serve(world, show("PY-13").play())
    ended = run(world, "tasks/reminder.created", {"remind_at": 1_795_514_207_254})

    assert error_of(ended).name == "ConfigError"
    assert "ISO 8601" in error_of(ended).message


@pytest.mark.parametrize(
    ("sample", "event", "field"),
    [("PY-13", "tasks/reminder.deleted", "reminderId"), ("PY-14", "tasks/deleted", "id")],
)
def test_an_event_cancels_the_sleeper_that_it_names(
    show: Show, world: World, sample: str, event: str, field: str
) -> None:
    serve(world, show(sample).play())
    at = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    one, other = (world.send("tasks/reminder.created", {"remind_at": at, field: key}) for key in "ab")
    world.send(event, {field: "a"})
    world.until_idle()

    assert [run.status for run in (*one, *other)] == ["Cancelled", "Completed"]


def test_a_moment_comes_from_a_naive_text(show: Show, world: World) -> None:
    serve(world, show("P-37").play())
    at = datetime.now() + timedelta(days=2)
    ended = run(world, "app/reminder.scheduled", {"remind_at": at.isoformat()})

    assert ended.status == "Completed"
    assert lasted_s(ended) == pytest.approx(2 * 86_400, abs=60)


def test_a_name_of_another_language_is_no_method(show: Show, world: World) -> None:
    """`sleepUntil` is shown as wrong, and is."""
    ended = run_lines(show, world, "P-19a", put("datetime.now", "datetime.datetime.now"))

    assert error_of(ended).name == "AttributeError"
    assert "sleepUntil" in error_of(ended).message


def test_a_duration_may_be_a_text(show: Show, world: World) -> None:
    """The rest of that sample, which is shown as right."""
    ended = run_lines(show, world, "P-19a", lambda text: text[text.index("await ctx.step.sleep(") :])

    assert ended.status == "Completed"
    assert lasted_s(ended) == pytest.approx(86_400, abs=60)


def run_lines(show: Show, world: World, sample: str, *edits: Any) -> Any:
    """Run lines that stand outside of any function on their page."""
    client = inngest.Inngest(app_id="docs")
    handler = show(sample).edited(*edits, in_handler).play(timedelta=timedelta).handler

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"), retries=0)
    async def fn(ctx: inngest.Context) -> None:
        await handler(ctx)

    serve_functions(world, client, [fn])
    return run(world, "go")


# Waiting for events.


@pytest.mark.parametrize("sample", ["PY-31", "S-29"])
@pytest.mark.parametrize("comes", [True, False])
def test_a_wait_ends_with_the_event_or_in_time(show: Show, world: World, sample: str, comes: bool) -> None:
    """The page does nothing with the result, so a line is added that returns it."""
    line = "    return res.data if res is not None else None\n"
    serve(world, show(sample).edited(lambda text: text + line).play())
    started = world.send("app/my_function")
    if comes:
        world.send("app/wait_for_event.fulfill", {"n": 1})
    world.until_idle()
    ended = started.run

    assert ended.status == "Completed"
    assert ended.output == ({"n": 1} if comes else None)
    assert lasted_s(ended) == pytest.approx(0 if comes else 2, abs=1.5)


def test_a_wait_takes_an_expression(show: Show, world: World) -> None:
    line = "    return onboarding_completed.data\n"
    serve(world, show("P-38").edited(lambda text: text + line).play())
    started = world.send("app/account.created", {"user_id": 7})
    world.send("app/wait_for_event.fulfill", {"user_id": 8})
    world.send("app/wait_for_event.fulfill", {"user_id": 7, "by": "him"})
    world.until_idle()

    assert [run.output for run in started] == [{"user_id": 7, "by": "him"}]


@pytest.mark.parametrize("sample", ["P-16", "P-17", "P-18a", "P-18b"])
def test_an_event_s_user_has_no_attributes(show: Show, world: World, sample: str) -> None:
    """These pages read attributes of JSON, in a field that events have no more."""
    calls = Calls()
    serve(world, show(sample).play(sendEmail=calls.sendEmail, email="email", template="template"))
    ended = run(world, "app/user.created")

    assert error_of(ended).name == "AttributeError"
    assert error_of(ended).message == "'dict' object has no attribute 'email'"
    assert calls.made == []


FROM_DATA = put("ctx.event.user.email", 'ctx.event.data["user"]["email"]')
ADA = {"user": {"id": 1, "email": "ada@example.com"}}


@pytest.mark.parametrize("sample", ["P-16", "P-17"])
def test_an_email_goes_to_the_event_s_user(show: Show, world: World, sample: str) -> None:
    """The same with the user in the event's data."""
    sent: list[dict[str, str]] = []

    async def send(mail: dict[str, str]) -> None:
        sent.append(mail)

    shown = show(sample).edited(FROM_DATA)
    serve(world, shown.play(sendEmail=send, email="email", template="template"))

    assert run(world, "app/user.created", ADA).status == "Completed"
    assert sent == [{"email": "ada@example.com", "template": "welcome"}]


@pytest.mark.parametrize(
    ("sample", "other_user", "mails"),
    [
        ("P-18a", False, ["welcome"]),
        ("P-18a", True, ["welcome"]),
        ("P-18b", False, ["welcome"]),
        ("P-18b", True, ["welcome", "reminder"]),
    ],
)
def test_a_wait_described_by_a_dictionary(
    show: Show, world: World, sample: str, other_user: bool, mails: list[str]
) -> None:
    """`match` and a text as `timeout`: after a day without a post of this user the reminder goes out."""
    calls = Calls()
    serve(world, show(sample).edited(FROM_DATA).play(sendEmail=calls.sendEmail))
    started = world.send("app/user.created", ADA)
    world.send("app/post.created", {"user": {"id": 2 if other_user else 1}})
    world.until_idle()
    ended = started.run

    assert ended.status == "Completed"
    assert [args[0]["template"] for _, args, _ in calls.made] == mails
    assert lasted_s(ended) == pytest.approx(86_400 if other_user else 0, abs=60)


# Invoking.


@pytest.mark.parametrize("sample", ["P-39", "S-20"])
def test_an_invoked_function_gives_its_output(
    show: Show, world: World, capsys: pytest.CaptureFixture[str], sample: str
) -> None:
    serve(world, show(sample).play())

    assert run(world, "app/fn-2").status == "Completed"
    assert capsys.readouterr().out == "Hello!\n"


def test_an_invoked_function_gets_data(show: Show, world: World) -> None:
    serve(world, show("P-15").play())

    assert run(world, "main/event").output == "Square of 4 is 16."


AWAITED = put("output = ctx.step", "output = await ctx.step")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("sample", ["S-21", "S-22"])
def test_an_invocation_that_is_not_awaited_is_none(
    show: Show, world: World, capsys: pytest.CaptureFixture[str], sample: str
) -> None:
    """As printed, `output` is what would have to be awaited."""
    serve_apps(world, show(sample).play())
    ended = run(world, "app/fn-2")

    assert list(ended.steps) == []
    assert "Hello!" not in capsys.readouterr().out


@pytest.mark.parametrize("sample", ["S-21", "S-22"])
def test_a_function_is_invoked_by_its_id(
    show: Show, world: World, capsys: pytest.CaptureFixture[str], sample: str
) -> None:
    """In the own app, or in another."""
    serve_apps(world, show(sample).edited(AWAITED).play())

    assert run(world, "app/fn-2").status == "Completed"
    assert capsys.readouterr().out == "Hello!\n"


def serve_apps(world: World, module: ModuleType) -> None:
    """One app, or the two of the page."""
    if not hasattr(module, "inngest_client_1"):
        serve(world, module)
        return
    serve_functions(world, module.inngest_client_1, [module.fn_1])
    serve_functions(world, module.inngest_client_2, [module.fn_2])


# Sending.


@pytest.mark.parametrize("sample", ["PY-09", "P-40", "S-26"])
def test_a_step_sends_an_event(show: Show, world: World, sample: str) -> None:
    serve(world, show(sample).play())
    ended = run(world, "app/my_function")

    assert ended.status == "Completed"
    assert [(event["id"], event["name"]) for event in world.sent_events if event["name"] == "foo"] == [
        (ended.output[0], "foo")
    ]


def test_a_cron_fans_out_by_plain_dictionaries(show: Show, world: World) -> None:
    """As printed it reads attributes of JSON, in both functions: shown first as it is."""
    rows = [{"id": 1, "email": "ada@example.com"}, {"id": 2, "email": "bob@example.com"}]
    db = SimpleNamespace(load=lambda _: rows)
    serve(world, show("P-23").play(db=db))
    world.advance(days=8)
    runs = world.runs("signup-flow-prepare-weekly-digest")

    assert [error_of(run).name for run in runs] == ["AttributeError"]


def test_a_cron_fans_out_when_the_rows_are_read_as_json(show: Show, world: World) -> None:
    rows = [{"id": 1, "email": "ada@example.com"}, {"id": 2, "email": "bob@example.com"}]
    calls = Calls()

    async def send(*args: Any) -> None:
        calls.send(*args)

    shown = show("P-23").edited(
        put("user.id", 'user["id"]'),
        put("user.email", 'user["email"]'),
        put("await email.send(", "await mailer.send("),
    )
    module = shown.play(db=SimpleNamespace(load=lambda _: rows), mailer=SimpleNamespace(send=send))
    serve(world, module)
    world.advance(days=8)
    world.until_idle()

    assert [run.status for run in world.runs("signup-flow-prepare-weekly-digest")] == ["Completed"]
    assert sorted(args for _, args, _ in calls.made) == [
        ("weekly_digest", "ada@example.com", 1),
        ("weekly_digest", "bob@example.com", 2),
    ]


def test_a_cron_fans_out_by_events(show: Show, world: World) -> None:
    """Both samples of the page: who is to get mail, and the mail."""
    client = inngest.Inngest(app_id="docs")
    sent: list[Any] = []

    async def fetch_users() -> list[dict[str, Any]]:
        return [{"id": 1, "name": "ada"}, {"id": 2, "name": "bob"}]

    async def load_user_data(user_id: int) -> str:
        return f"data of {user_id}"

    async def send_email(user: dict[str, Any], data: str) -> None:
        sent.append((user["name"], data))

    load = show("P-24").play(inngest_client=client, fetch_users=fetch_users)
    send = show("P-25").play(inngest_client=client, load_user_data=load_user_data, send_email=send_email)
    serve_functions(world, client, [load.load_cron, send.send_reminder])
    world.advance(days=8)
    world.until_idle()

    assert [run.output for run in world.runs("docs-weekly-activity-load-users")] == [{"count": 2}]
    assert sorted(sent) == [("ada", "data of 1"), ("bob", "data of 2")]


# Output with types.


def test_an_output_is_a_model(show: Show, world: World) -> None:
    import pydantic

    shown = show("S-07").edited(lambda text: text + "    return [type(user).__name__, user.name]\n")
    module = shown.play(pydantic=pydantic)
    serve_functions(world, module.client, [module.my_fn])

    assert run(world, "my-event").output == ["User", "Alice"]


@pytest.mark.parametrize("checkpointing", [True, False])
def test_an_output_is_one_of_several_models(show: Show, world: World, checkpointing: bool) -> None:
    """The line stands alone on its page; here it ends a function that looks at what came."""
    import pydantic

    class User(pydantic.BaseModel):
        name: str

    class Admin(pydantic.BaseModel):
        rights: list[str]

    client = inngest.Inngest(
        app_id="docs", serializer=inngest.PydanticSerializer(), checkpointing=checkpointing
    )

    async def get_users() -> list[User | Admin]:
        return [Admin(rights=["all"]), User(name="Ada")]

    shown = show("S-08").edited(put("await ctx", "return await ctx"), in_handler)
    handler = shown.play(User=User, Admin=Admin, get_users=get_users).handler

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"))
    async def fn(ctx: inngest.Context) -> list[str]:
        return [type(one).__name__ for one in await handler(ctx)]

    serve_functions(world, client, [fn])

    assert run(world, "go").output == ["Admin", "User"]


def test_the_output_of_a_function_is_a_model(show: Show, world: World) -> None:
    """For who invokes it, too."""
    import pydantic

    module = show("S-09").play(pydantic=pydantic)
    client = module.client

    @client.create_function(fn_id="parent", trigger=inngest.TriggerEvent(event="parent"))
    async def parent(ctx: inngest.Context) -> list[str]:
        user = await ctx.step.invoke("call", function=module.my_fn)
        return [type(user).__name__, user.name]

    serve_functions(world, client, [module.my_fn, parent])

    assert run(world, "my-event").output == {"name": "Alice"}
    assert run(world, "parent").output == ["User", "Alice"]


# What is only a frame.


@pytest.mark.parametrize(
    ("sample", "events"),
    [
        ("S-03", ["shop/product.imported"]),
        ("S-33a", ["shop/product.imported"]),
        ("S-34a", ["shop/product.imported"]),
        ("S-04", ["shop/product.imported", "shop/product.updated"]),
        ("S-33b", ["shop/product.imported", "shop/product.updated"]),
        ("S-34b", ["shop/product.imported", "shop/product.updated"]),
    ],
)
def test_a_function_with_a_body_runs_for_each_trigger(
    show: Show, world: World, sample: str, events: list[str]
) -> None:
    """The page leaves the body to the reader. Of handlers with two parameters the second is the step."""
    line = "return type(ctx.step).__name__" if "34" not in sample else "return step is ctx.step"
    serve(world, show(sample).edited(body("async def fn", line)).play())

    assert [run(world, event).output for event in events] in ([True] * len(events), ["Step"] * len(events))


@pytest.mark.parametrize("sample", ["S-05", "S-33c", "S-34c"])
def test_a_function_without_options_says_what_is_missing(show: Show, sample: str) -> None:
    with pytest.raises((TypeError, inngest.errors.Error), match="fn_id"):
        show(sample).edited(body("async def fn")).play()
