"""ING001 to ING008: what is done outside steps, and what looks like it."""

import pytest

from tests.unit.lint.cases import check, in_function

CLOCK = [
    "now = datetime.datetime.now()  #! ING001\nreturn now",
    "if time.time() > 5:  #! ING001\n    return 1",
    "deadline = datetime.datetime.now(UTC) + timedelta(days=1)  #! ING001\nreturn deadline",
    "today = datetime.date.today()  #! ING001\nif today.day == 1: return",
    "key = time.time_ns() % 2  #! ING001\nreturn key",
    "import time as clock\nreturn clock.monotonic()  #! ING001",
    "from datetime import datetime as dt\nreturn dt.utcnow()  #! ING001",
    "return time.localtime().tm_hour  #! ING001",
    "items = [x for x in ctx.event.data['a'] if x > time.time()]  #! ING001\nreturn items",
    "started = time.time()  #! ING001\nctx.logger.info('%s', started)\nreturn started",
    "order = sorted([], key=lambda one: time.time())  #! ING001\nreturn order",
]
NO_CLOCK = [
    "now = await ctx.step.run('now', lambda: datetime.datetime.now().isoformat())",
    "await ctx.step.run('now', datetime.datetime.now)",
    "await ctx.step.run('now', functools.partial(datetime.datetime.now, UTC))",
    "def read():\n    return time.time()\nawait ctx.step.run('now', read)",
    "async def read():\n    return time.time()\nawait ctx.step.run('now', read)",
    "await ctx.step.sleep_until('zzz', datetime.datetime.now() + timedelta(seconds=2))",
    "until = datetime.datetime.now(UTC) + timedelta(days=3)\nawait ctx.step.sleep_until('zzz', until)",
    "await ctx.step.run('save', load, time.time())",
    "now = time.time()\nawait ctx.step.run('save', lambda: load(now))",
    "now = time.time()\ndef save():\n    return load(now)\nawait ctx.step.run('save', save)",
    "started = time.time()\nctx.logger.info('took %s', time.time() - started)",
    "started = time.perf_counter()\nspent = time.perf_counter() - started\nprint(f'{spent}')",
    "logging = load()\nlogging.debug('at %s', datetime.datetime.now())",
    "when = datetime.datetime(2026, 1, 1)\nreturn when",
    "when = datetime.datetime.fromisoformat(ctx.event.data['at'])\nreturn when",
    "day = time.strftime('%Y', time.localtime(ctx.event.ts))\nreturn day",
    "class time:\n    pass\ntime = load()\nreturn time.time()",
    "async def unused():\n    return time.time()",
    "run = ctx.step.run\nstamp = await run('now', lambda: time.time())\nreturn stamp",
]


@pytest.mark.parametrize("body", CLOCK)
def test_reading_the_clock_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize("body", NO_CLOCK)
def test_a_clock_in_a_step_or_a_log_line_is_fine(body: str) -> None:
    check(in_function(body))


CHANCE = [
    "return random.random()  #! ING002",
    "winner = random.choice(ctx.event.data['a'])  #! ING002\nreturn winner",
    "token = secrets.token_hex()  #! ING002\nreturn token",
    "order_id = str(uuid.uuid4())  #! ING002\nreturn order_id",
    "from uuid import uuid4\nreturn uuid4().hex  #! ING002",
    "return np.random.randint(5)  #! ING002",
    "dice = random.Random()  #! ING002\nreturn dice",
    "await ctx.step.run('create', load, uuid.uuid4())  #! ING002",
    "key = uuid.uuid4()  #! ING002\nawait ctx.step.run('charge', load, key)",
    "await ctx.step.run('charge', functools.partial(load, uuid.uuid4()))  #! ING002",
]
NO_CHANCE = [
    "token = await ctx.step.run('token', secrets.token_hex)",
    "key = await ctx.step.run('key', lambda: str(uuid.uuid4()))",
    "await ctx.step.sleep('jitter', random.randint(1, 5))",
    "await ctx.step.invoke('other', function=load, data={'id': str(uuid.uuid4())})",
    "dice = random.Random(ctx.run_id)\nreturn dice.random()",
    "return uuid.uuid5(uuid.NAMESPACE_URL, ctx.run_id)",
    "return uuid.UUID(ctx.event.data['id'])",
    "def shuffled():\n    items = []\n    random.shuffle(items)\n    return items\n"
    "await ctx.step.run('x', shuffled)",
]


@pytest.mark.parametrize("body", CHANCE)
def test_chance_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize("body", NO_CHANCE)
def test_chance_in_a_step_and_seeded_chance_are_fine(body: str) -> None:
    check(in_function(body))


IO = [
    "rate = requests.get('https://rates').json()  #! ING003\nreturn rate",
    "with open('a') as file:  #! ING003\n    pass",
    "subprocess.run(['ls'])  #! ING003",
    "shutil.copy('a', 'b')  #! ING003",
    "pathlib.Path('a').write_text('b')  #! ING003",
    "folder = pathlib.Path('a')\n(folder / 'b').unlink()  #! ING003",
    "web = httpx.Client()\nweb.post('https://a')  #! ING003",
    "async with httpx.AsyncClient() as web:\n    answer = await web.get('https://a')  #! ING003",
    "async with aiohttp.ClientSession() as session:\n    await session.get('https://a')  #! ING003",
    "await asyncio.create_subprocess_exec('ls')  #! ING003",
    "import urllib.request\nurllib.request.urlopen('https://a')  #! ING003",
    "ctx.logger.info('%s', requests.get('https://a').text)  #! ING003",
    "await ctx.step.run('save', load, requests.get('https://a').json())  #! ING003",
    "import boto3\ns3 = boto3.client('s3')\ns3.upload_file('a', 'b', 'c')  #! ING003",
    "import openai\nai = openai.AsyncOpenAI()\nawait ai.chat.completions.create(model='m')  #! ING003",
    "import stripe\nstripe.Charge.create(amount=5)  #! ING003",
    "results = await asyncio.gather(load_page('a'), httpx.get('b'))  #! ING003",
]
NO_IO = [
    "rate = await ctx.step.run('rate', lambda: requests.get('https://rates').json())\nreturn rate",
    "await ctx.step.run('rate', requests.get, 'https://rates')",
    "await ctx.step.run('copy', functools.partial(shutil.copy, 'a', 'b'))",
    "def save():\n    with open('a') as file:\n        return file.read()\nawait ctx.step.run('save', save)",
    "web = httpx.AsyncClient()\nasync def get():\n    return (await web.get('https://a')).json()\n"
    "await ctx.step.run('get', get)",
    "async with httpx.AsyncClient() as web:\n    await ctx.step.run('get', web.get, 'https://a')",
    "name = os.path.join('a', 'b')\nreturn pathlib.Path(name).suffix",
    "path = pathlib.Path('a') / 'b'\nreturn path.name",
    "url = httpx.URL('https://a').join('b')\nreturn str(url)",
    "open = load()\nreturn open('a')",
    "class Door:\n    def open(self): pass\ndoor = Door()\ndoor.open()",
    "await ctx.step.fetch('rate', 'https://rates')",
]


@pytest.mark.parametrize("body", IO)
def test_io_is_found(body: str) -> None:
    check(in_function(body.replace("load_page('a')", "ctx.step.run('page', load)")))


@pytest.mark.parametrize("body", NO_IO)
def test_io_in_a_step_and_what_only_looks_like_it_is_fine(body: str) -> None:
    check(in_function(body))


DATABASE = [
    "con = sqlite3.connect('a.db')  #! ING004\ncon.execute('select 1').fetchall()  #! ING004",
    "import asyncpg\ncon = await asyncpg.connect()  #! ING004\nawait con.fetch('select 1')  #! ING004",
    "from sqlalchemy.orm import Session, sessionmaker\nmake = sessionmaker()\nwith make() as s:\n"
    "    s.query('a').filter().all()  #! ING004\n    s.add('b')\n    s.commit()  #! ING004",
    "from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine\n"
    "async with AsyncSession(create_async_engine('a')) as s:\n    await s.execute('select 1')  #! ING004",
    "import pymongo\ndb = pymongo.MongoClient()['shop']\ndb.orders.insert_one({})  #! ING004",
    "import redis.asyncio\nr = redis.asyncio.Redis()\nawait r.set('a', 1)  #! ING004",
    "cursor = load()\ncursor.execute('select 1')  #! ING004",
    "from shop.models import Order\nOrder.objects.filter(id=1).first()  #! ING004",
    "await ctx.step.run('save', load, ctx.session.execute('select 1'))  #! ING004",
    "async for row in load().cursor.execute('select 1'):  #! ING004\n    pass",
]
NO_DATABASE = [
    "def save():\n    with sqlite3.connect('a') as con:\n        con.execute('delete from a')\n"
    "await ctx.step.run('save', save)",
    "import pymongo\ndb = pymongo.MongoClient()['shop']\n"
    "await ctx.step.run('save', db.orders.insert_one, {})",
    "from sqlalchemy.orm import Session\nsession = Session()\nsession.add('a')",
    "session = ctx.event.data\nreturn session.get('user')",
    "pool = load()\nreturn pool.size()",
    "plan = load()\nplan.execute()",
    "objects = ctx.event.data\nreturn objects.get('a')",
]


@pytest.mark.parametrize("body", DATABASE)
def test_database_calls_are_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize("body", NO_DATABASE)
def test_a_database_in_a_step_and_things_of_such_names_are_fine(body: str) -> None:
    check(in_function(body))


ENVIRONMENT = [
    "return os.environ['REGION']  #! ING005",
    "return os.getenv('REGION')  #! ING005",
    "return os.environ.get('REGION', 'eu')  #! ING005",
    "if 'REGION' in os.environ:  #! ING005\n    return 1",
    "return os.getpid()  #! ING005",
]


@pytest.mark.parametrize("body", ENVIRONMENT)
def test_the_environment_is_found_only_when_it_is_asked_for(body: str) -> None:
    check(in_function(body), "ING005")
    check(in_function(body).replace("#! ING005", ""))


AWAITS = [
    "user = await load_user(ctx.event.data['id'])  #! ING006\nreturn user",
    "user = await load().fetch()  #! ING006\nreturn user",
    "from shop.users import find_user\nuser = await find_user(1)  #! ING006\nreturn user",
    "async with asyncio.TaskGroup() as group:\n    await load().refresh()  #! ING006",
    "a, b = await asyncio.gather(ctx.step.run('a', load), load().fetch())  #! ING006",
    "async for page in load().pages():  #! ING006\n    print(page)",
    "await asyncio.to_thread(load, 1)  #! ING006",
    "await load().publish(at=time.time(), key=uuid.uuid4())  #! ING006",
    "async def helper():\n    return await load().fetch()  #! ING006\nawait helper()",
    "import anyio\nawait anyio.to_thread.run_sync(load)  #! ING006",
]
NO_AWAITS = [
    "a, b = await asyncio.gather(ctx.step.run('a', load), ctx.step.run('b', load))",
    "tasks = [ctx.step.run(f'a-{n}', load) for n in range(3)]\nreturn await asyncio.gather(*tasks)",
    "tasks = []\nfor n in range(3):\n    tasks.append(ctx.step.run(f'a-{n}', load))\n"
    "await gather_all(*tasks)",
    "task = asyncio.create_task(ctx.step.run('a', load))\nawait task",
    "async with asyncio.TaskGroup() as group:\n    group.create_task(ctx.step.run('a', load))",
    "for done in asyncio.as_completed([ctx.step.run('a', load)]):\n    print(await done)",
    "async def both():\n    await ctx.step.run('a', load)\n    return await ctx.step.run('b', load)\n"
    "await asyncio.gather(both(), ctx.step.sleep('c', 5))",
    "queue = asyncio.Queue()\nawait queue.put(1)\nreturn await queue.get()",
    "lock = asyncio.Lock()\nasync with lock:\n    await ctx.step.run('a', load)",
    "await ctx.group.parallel((lambda: ctx.step.run('a', load), lambda: ctx.step.run('b', load)))",
    "parallel = ctx.group.parallel\nawait parallel((functools.partial(ctx.step.run, 'a', load),))",
    "from shop.helpers import process\nawait process(ctx, 5)\nawait process(step=ctx.step)",
    "async def label():\n    return 'a'\nawait label()",
    "await asyncio.sleep(0)",
    "handler = ctx.event.data['a']\nawait handler()",
    "await ctx.step.run('users', lambda: load().fetch())",
    "answer = await ctx.step.ai.infer('a', adapter=load(), body={})",
    "wrapped = await ctx.step.ai.wrap('a', load().complete, 'hello')",
    "from shop.lib import wait_all\ntasks = [asyncio.ensure_future(ctx.step.run('a', load))]\n"
    "await wait_all(tasks)",
]


@pytest.mark.parametrize("body", AWAITS)
def test_waiting_for_what_is_no_step_is_found(body: str) -> None:
    head = "async def load_user(id): return await connection_of(id).find()\n"
    check(head + in_function(body))


@pytest.mark.parametrize("body", NO_AWAITS)
def test_waiting_for_steps_in_whatever_form_is_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(60)  #! ING007",
        "time.sleep(60)  #! ING007",
        "async with asyncio.timeout(5):  #! ING007\n    await ctx.step.run('a', load)",
        "await asyncio.wait_for(ctx.step.run('a', load), 5)  #! ING007",
        "await asyncio.gather(ctx.step.run('a', load), asyncio.sleep(5))  #! ING007",
    ],
)
def test_pauses_and_time_limits_that_are_no_steps_are_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.sleep('wait', 60)",
        "await ctx.step.run('wait', time.sleep, 60)",
        "async def slow():\n    await asyncio.sleep(5)\nawait ctx.step.run('wait', slow)",
        "async def limited():\n    async with asyncio.timeout(5):\n        return load()\n"
        "await ctx.step.run('wait', limited)",
    ],
)
def test_pauses_of_steps_and_in_steps_are_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await client.send(inngest.Event(name='a'))  #! ING008",
        "client.send_sync(inngest.Event(name='a'))  #! ING008",
        "other = inngest.Inngest(app_id='b')\nawait other.send([])  #! ING008",
    ],
)
def test_sending_outside_a_step_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.send_event('send', inngest.Event(name='a'))",
        "await ctx.step.run('send', client.send, inngest.Event(name='a'))",
        "channel = load()\nchannel.send('a')",
    ],
)
def test_sending_with_a_step_is_fine(body: str) -> None:
    check(in_function(body))


def test_the_client_is_known_by_its_decorator_when_it_is_made_elsewhere() -> None:
    source = """
from shop.setup import bus

@bus.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await ctx.step.run("a", print)
    await bus.send([])  #! ING008
"""
    check(source)


@pytest.mark.parametrize(
    "body",
    ["return time.time()", "await aload(requests.get('https://a'))", "await load().fetch()\ntime.sleep(5)"],
)
def test_a_function_without_steps_is_executed_as_a_whole(body: str) -> None:
    check(in_function(body, step=False))


def test_sync_functions_are_looked_at_too() -> None:
    check(
        in_function(
            """
            user = ctx.step.run("user", load, 1)
            if user["a"] > time.time():  #! ING001
                requests.post("https://a")  #! ING003
            time.sleep(5)  #! ING007
            client.send_sync([])  #! ING008
            """,
            kind="def",
        )
    )
