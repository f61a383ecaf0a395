"""Which functions are looked at, and how helpers are followed from one file into another."""

import pytest

from inngest_server.lint.lint import lint
from inngest_server.lint.rules import enabled
from tests.unit.lint.cases import check, expected, found


@pytest.mark.parametrize(
    "source",
    [
        """
@client.create_function(fn_id="a", trigger=None)
async def a(context):
    await context.step.run("a", print)
    return time.time()  #! ING001
""",
        """
@client.create_function(id="a", trigger=None)
def a(ctx, step):
    step.run("a", print)
    return time.time()  #! ING001
""",
        """
async def a(ctx: "inngest.Context"):
    await ctx.step.run("a", print)
    return time.time()  #! ING001
a_function = client.create_function(fn_id="a", trigger=None)(a)
""",
        """
durable = functools.partial(client.create_function, retries=0)

@durable(fn_id="a", trigger=None)
async def a(ctx):
    await ctx.step.run("a", print)
    return time.time()  #! ING001
""",
        """
def durable(name):
    return client.create_function(fn_id=name, trigger=None)

@durable("a")
async def a(ctx):
    await ctx.step.run("a", print)
    return time.time()  #! ING001
""",
        """
def create(client):
    @client.create_function(fn_id="a", trigger=None)
    async def a(ctx):
        await ctx.step.run("a", print)
        return time.time()  #! ING001
    return [a]
""",
        """
class Orders:
    def __init__(self, client):
        self.fn = client.create_function(fn_id="a", trigger=None)(self.handle)

    async def handle(self, ctx):
        await ctx.step.run("a", self.load)
        return time.time() + await self.rest(ctx)  #! ING001

    async def rest(self, ctx):
        return random.random()  #! ING002

    def load(self):
        return time.time()
""",
        """
async def failed(ctx):
    await ctx.step.run("tell", print)
    requests.post("https://a")  #! ING003

@client.create_function(fn_id="a", trigger=None, on_failure=failed)
async def a(ctx):
    pass
""",
        """
@client.create_function(**options)
@traced
async def a(ctx):
    await ctx.step.run("a", print)
    return time.time()  #! ING001
""",
    ],
)
def test_every_form_of_an_inngest_function_is_looked_at(source: str) -> None:
    check("import functools, random, requests, time, inngest\n" + source)


@pytest.mark.parametrize(
    "source",
    [
        "def a(ctx):\n    ctx.step.run('a', print)\n    return time.time()",
        "@app.get('/')\nasync def a(ctx):\n    return time.time()",
        "con.create_function('now', 0, time.time)",
        "@con.create_function('now', 0)\ndef now(ctx):\n    ctx.step.run('a', print)\n    return time.time()",
        "@client.create_function(fn_id='a', trigger=None)\nasync def a(): pass",
        "@client.create_function\nasync def a(ctx): pass",
        "client.create_function(fn_id='a', trigger=None)(None)",
        "client.create_function(fn_id='a', trigger=None)(lambda ctx: time.time())",
    ],
)
def test_other_functions_are_left_alone(source: str) -> None:
    check("import time\n" + source)


HANDLER = """
import inngest
from shop.helpers import notify, price
from . import stock
from .clients import web

client = inngest.Inngest(app_id="shop")

@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await ctx.step.run("a", print)
    await notify(ctx, "ann")
    price(5)  #! ING004
    stock.reserve(6)  #! ING003
    await stock.count(7)  #! ING001
    await ctx.step.run("price", price, 5)
    await web.get("https://a")  #! ING003
    stock.unknown(8)
    for user in ctx.event.data["users"]:
        await stock.mail(ctx.step, user)
"""
HELPERS = """
import sqlite3

async def notify(context, name):
    async with lock:
        await context.step.run("mail", print, name)
        return open("log")  #! ING003

def price(n):
    return connected().execute("select 1")

def connected():
    return sqlite3.connect("a.db")

def never_called(ctx):
    return open("log")
"""
STOCK = """
from time import time
import urllib.request as web

def reserve(n):
    if n:
        return reserve(n - 1)
    return web.urlopen("https://a")

async def count(n):
    return time() + n

async def mail(step, user):
    await step.run("send", print, user)  #! ING010
    await step.run(f"log-{user}", print)
"""


def test_helpers_are_followed_into_the_files_that_are_given() -> None:
    sources = {
        "shop/functions.py": HANDLER,
        "shop/__init__.py": "",
        "shop/helpers.py": HELPERS,
        "shop/stock.py": STOCK,
        "shop/clients.py": "import httpx\nweb = httpx.AsyncClient()\n",
    }
    assert found(sources) == expected(sources)


def test_where_a_helper_does_it_is_said() -> None:
    sources = {"shop/functions.py": HANDLER, "shop/helpers.py": HELPERS}
    messages = [one.message for one in lint(sources, enabled(["ING004"])).findings]
    assert messages == [
        "`price` asks the database outside a step: sqlite3.connect() in shop/helpers.py:13",
    ]


def test_files_that_are_not_given_are_not_missed() -> None:
    result = lint({"shop/functions.py": HANDLER}, enabled(["ING003", "ING004", "ING001"]))
    assert result.findings == []


def test_a_file_of_the_project_does_not_stand_for_a_library() -> None:
    source = """
import time
@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await ctx.step.run("a", print)
    return time.time()  #! ING001
"""
    sources = {"shop/functions.py": source, "shop/time.py": "def time(): return 5\n"}
    assert found(sources) == expected(sources)


def test_the_same_helper_of_two_functions_is_told_once() -> None:
    source = """
async def helper(ctx):
    await ctx.step.run("a", print)
    return open("a")  #! ING003

@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await helper(ctx)

@client.create_function(fn_id="b", trigger=None)
async def b(ctx):
    await helper(ctx)
"""
    check(source)


def test_helpers_that_call_each_other_come_to_an_end() -> None:
    source = """
async def ping(ctx, n):
    await ctx.step.run(f"ping-{n}", print)
    await pong(ctx, n)

async def pong(ctx, n):
    await ping(ctx, n - 1)
    return open("a")  #! ING003

@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await ping(ctx, 3)
"""
    check(source)


@pytest.mark.parametrize(
    ("comment", "line"),
    [
        ("# inngest: ignore", "    return time.time()  {}"),
        ("# inngest: ignore[ING001]", "    return time.time()  {}"),
        ("# inngest: ignore[ing003, clock-outside-step]", "    return time.time()  {}"),
        ("# noqa: E501  # inngest: ignore[ING001] the last line of the run", "    return time.time()  {}"),
        ("# inngest: ignore[ING001]", "    return max(  {}\n        time.time(),\n    )"),
        ("# inngest: ignore-file[ING001]", "    return time.time()\n{}"),
        ("# inngest: ignore-file", "    return time.time()\n{}"),
    ],
)
def test_a_comment_suppresses_a_finding(comment: str, line: str) -> None:
    result = lint({"app.py": SUPPRESSED + line.format(comment)}, enabled())
    assert (result.findings, result.suppressed) == ([], 1)


@pytest.mark.parametrize(
    "line",
    [
        "    return time.time()  # inngest: ignore[ING002]",
        "    # inngest: ignore\n    return time.time()",
        "    return time.time(), '# inngest: ignore'",
        "    return time.time()\n# inngest: ignore-file[ING002]",
    ],
)
def test_a_comment_for_something_else_suppresses_nothing(line: str) -> None:
    assert [one.code for one in lint({"app.py": SUPPRESSED + line}, enabled()).findings] == ["ING001"]


SUPPRESSED = """
import time
@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await ctx.step.run("a", print)
"""
