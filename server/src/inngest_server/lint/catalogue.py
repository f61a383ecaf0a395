"""Names whose calls are not repeatable: the clock, chance, I/O, databases, the environment, pauses.

Only names that mean one thing are listed. A library that is not here is found by rule ING006 where it is
awaited.
"""

import re
from typing import Final

CLOCK, CHANCE, IO, DATABASE, ENVIRONMENT, PAUSE = "ING001", "ING002", "ING003", "ING004", "ING005", "ING007"


def _names(module: str, names: str) -> list[str]:
    return [f"{module}.{name}" for name in names.split()]


CALLS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            *_names("time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns"),
            *_names("time", "process_time process_time_ns thread_time clock_gettime clock_gettime_ns"),
            *_names("datetime.datetime", "now utcnow today"),
            "datetime.date.today",
            *_names("django.utils.timezone", "now localdate localtime"),
            *_names("pendulum", "now today yesterday tomorrow"),
            *_names("arrow", "now utcnow"),
            *_names("pandas.Timestamp", "now today utcnow"),
            *_names("whenever.Instant", "now"),
            *_names("whenever.ZonedDateTime", "now"),
            "timeit.default_timer",
        ],
        CLOCK,
    ),
    **dict.fromkeys(
        [
            *_names("random", "betavariate binomialvariate choice choices expovariate gammavariate gauss"),
            *_names(
                "random", "getrandbits lognormvariate normalvariate paretovariate randbytes randint random"
            ),
            *_names(
                "random", "randrange sample seed shuffle triangular uniform vonmisesvariate weibullvariate"
            ),
            *_names("secrets", "choice randbelow randbits token_bytes token_hex token_urlsafe"),
            *_names("uuid", "uuid1 uuid4 uuid6 uuid7 uuid8"),
            "os.urandom",
            *_names("numpy.random", "choice normal permutation rand randint randn random shuffle uniform"),
            *_names("ulid", "new ULID"),
            *_names("nanoid", "generate"),
            *_names("shortuuid", "uuid random ShortUUID"),
            *_names("uuid_utils", "uuid1 uuid4 uuid6 uuid7"),
        ],
        CHANCE,
    ),
    **dict.fromkeys(
        [
            "open",
            "input",
            "io.open",
            *_names("os", "chmod chown fsync link listdir makedirs mkdir open popen read remove removedirs"),
            *_names(
                "os", "rename renames replace rmdir scandir stat symlink system truncate unlink utime walk"
            ),
            *_names("os", "write execv spawnv kill"),
            *_names("os.path", "exists getmtime getsize isdir isfile islink"),
            *_names("glob", "glob iglob"),
            *_names(
                "shutil", "copy copy2 copyfile copytree disk_usage make_archive move rmtree unpack_archive"
            ),
            *_names("tempfile", "mkdtemp mkstemp NamedTemporaryFile TemporaryDirectory TemporaryFile"),
            *_names("subprocess", "Popen call check_call check_output getoutput getstatusoutput run"),
            *_names("asyncio", "create_subprocess_exec create_subprocess_shell open_connection start_server"),
            *_names("anyio", "open_file run_process open_process connect_tcp"),
            *_names("aiofiles", "open"),
            *_names("socket", "create_connection getaddrinfo gethostbyname"),
            *_names("urllib.request", "urlopen urlretrieve"),
            *_names("requests", "delete get head options patch post put request"),
            *_names("httpx", "delete get head options patch post put request stream"),
            *_names("aiohttp", "request"),
            *_names("urllib3", "request"),
            *_names("pandas", "read_csv read_excel read_json read_parquet"),
            *_names("webbrowser", "open"),
        ],
        IO,
    ),
    **dict.fromkeys(
        [
            *_names("pandas", "read_sql read_sql_query read_sql_table"),
            *_names("sqlite3", "connect"),
            *_names("psycopg", "connect"),
            *_names("psycopg.Connection", "connect"),
            *_names("psycopg.AsyncConnection", "connect"),
            *_names("psycopg2", "connect"),
            *_names("pymysql", "connect"),
            *_names("MySQLdb", "connect"),
            *_names("mysql.connector", "connect"),
            *_names("aiomysql", "connect create_pool"),
            *_names("aiosqlite", "connect"),
            *_names("asyncpg", "connect create_pool"),
            *_names("oracledb", "connect"),
            *_names("pyodbc", "connect"),
            *_names("duckdb", "connect execute query sql"),
            *_names("snowflake.connector", "connect"),
            *_names("django.shortcuts", "get_object_or_404 get_list_or_404"),
        ],
        DATABASE,
    ),
    **dict.fromkeys(
        [
            "os.getenv",
            *_names("os.environ", "get items keys values copy"),
            *_names("os", "getcwd getlogin getpid getppid cpu_count getloadavg uname"),
            *_names("socket", "gethostname getfqdn"),
            *_names("platform", "node platform"),
            *_names("getpass", "getuser"),
            *_names("threading", "get_ident current_thread"),
        ],
        ENVIRONMENT,
    ),
    **dict.fromkeys(
        ["time.sleep", "asyncio.sleep", "anyio.sleep", "anyio.sleep_until", "trio.sleep", "gevent.sleep"],
        PAUSE,
    ),
}
"""Calls by their full name, and the rule that they fall under."""

TIME_LIMITS: Final = frozenset(
    {
        "asyncio.timeout",
        "asyncio.timeout_at",
        "asyncio.wait_for",
        "async_timeout.timeout",
        "anyio.fail_after",
        "anyio.move_on_after",
    }
)
"""Around steps they measure one call of the function."""

WITHOUT_ARGUMENTS: Final[dict[str, str]] = {
    "time.localtime": CLOCK,
    "time.gmtime": CLOCK,
    "time.ctime": CLOCK,
    "time.asctime": CLOCK,
    "random.Random": CHANCE,
    "numpy.random.default_rng": CHANCE,
}
"""Not repeatable only if they are given nothing: the seed, or the moment to show."""

CONSTRUCTORS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            *_names("requests", "Session session"),
            *_names("httpx", "Client AsyncClient"),
            *_names("aiohttp", "ClientSession"),
            *_names("urllib3", "PoolManager HTTPConnectionPool"),
            *_names("http.client", "HTTPConnection HTTPSConnection"),
            *_names("smtplib", "SMTP SMTP_SSL"),
            *_names("ftplib", "FTP FTP_TLS"),
            *_names("imaplib", "IMAP4 IMAP4_SSL"),
            *_names("socket", "socket"),
            *_names("boto3", "client resource"),
            *_names("openai", "OpenAI AsyncOpenAI AzureOpenAI AsyncAzureOpenAI"),
            *_names("anthropic", "Anthropic AsyncAnthropic"),
            *_names("google.genai", "Client"),
            *_names("google.cloud.storage", "Client"),
            *_names("google.cloud.pubsub_v1", "PublisherClient"),
            *_names("groq", "Groq AsyncGroq"),
            *_names("mistralai", "Mistral"),
            *_names("cohere", "Client AsyncClient ClientV2"),
            *_names("twilio.rest", "Client"),
            *_names("slack_sdk", "WebClient"),
            *_names("slack_sdk.web.async_client", "AsyncWebClient"),
            *_names("sendgrid", "SendGridAPIClient"),
            *_names("stripe", "StripeClient"),
            *_names("github", "Github"),
            *_names("paramiko", "SSHClient"),
            *_names("kafka", "KafkaProducer KafkaConsumer"),
        ],
        IO,
    ),
    **dict.fromkeys(
        [
            *_names("sqlalchemy.orm", "Session scoped_session"),
            *_names("sqlalchemy.ext.asyncio", "AsyncSession create_async_engine"),
            *_names("sqlalchemy", "create_engine"),
            *_names("sqlmodel", "Session create_engine"),
            *_names("pymongo", "MongoClient AsyncMongoClient"),
            *_names("motor.motor_asyncio", "AsyncIOMotorClient"),
            *_names("redis", "Redis StrictRedis from_url"),
            *_names("redis.Redis", "from_url"),
            *_names("redis.asyncio", "Redis StrictRedis from_url"),
            *_names("redis.asyncio.Redis", "from_url"),
            *_names("databases", "Database"),
            *_names("supabase", "create_client acreate_client"),
            *_names("prisma", "Prisma"),
            *_names("elasticsearch", "Elasticsearch AsyncElasticsearch"),
            *_names("opensearchpy", "OpenSearch"),
            *_names("neo4j.GraphDatabase", "driver"),
            *_names("cassandra.cluster", "Cluster"),
            *_names("google.cloud.firestore", "Client AsyncClient"),
            *_names("google.cloud.bigquery", "Client"),
            *_names("clickhouse_connect", "get_client"),
            *_names("psycopg_pool", "ConnectionPool AsyncConnectionPool"),
        ],
        DATABASE,
    ),
    **dict.fromkeys(_names("random", "SystemRandom"), CHANCE),
}
"""Making these does nothing yet; calling their methods does."""

FACTORIES: Final = frozenset(
    {
        "sqlalchemy.orm.sessionmaker",
        "sqlalchemy.ext.asyncio.async_sessionmaker",
    }
)
"""What they return makes database sessions when it is called."""

SESSION_CLASSES: Final = frozenset(name for name in CONSTRUCTORS if name.rpartition(".")[2][0].isupper())
"""As annotations of parameters: what is annotated so is one."""

PURE_METHODS: Final = frozenset(
    {
        "add",
        "add_all",
        "begin",
        "build_request",
        "close",
        "dispose",
        "expunge",
        "get_bind",
        "set_debuglevel",
        "settimeout",
    }
)
"""Methods of clients and sessions that reach nobody."""

PATH_METHODS: Final = frozenset(
    [
        "chmod",
        "exists",
        "glob",
        "is_dir",
        "is_file",
        "iterdir",
        "lstat",
        "mkdir",
        "open",
        "read_bytes",
        "read_text",
        "rename",
        "replace",
        "rglob",
        "rmdir",
        "stat",
        "symlink_to",
        "touch",
        "unlink",
        "walk",
        "write_bytes",
        "write_text",
    ]
)
"""Methods of `pathlib.Path` that reach the file system."""

DATABASE_NAMES: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        ("cursor", "cur"),
        frozenset(["callproc", "execute", "executemany", "fetchall", "fetchmany", "fetchone"]),
    ),
    **dict.fromkeys(
        ("session", "db_session", "dbsession"),
        frozenset(
            ["commit", "execute", "flush", "merge", "query", "refresh", "rollback", "scalar", "scalars"]
        ),
    ),
    **dict.fromkeys(
        ("conn", "connection", "db", "database", "pool"),
        frozenset(
            [
                "commit",
                "execute",
                "executemany",
                "executescript",
                "fetch",
                "fetchall",
                "fetchone",
                "fetchrow",
                "fetchval",
                "fetch_all",
                "fetch_one",
                "rollback",
            ]
        ),
    ),
}
"""Names that everybody gives to these things, and methods that no other thing of that name has."""

QUERYSET_METHODS: Final = frozenset(
    [
        "acreate",
        "aexists",
        "afirst",
        "aget",
        "all",
        "bulk_create",
        "bulk_update",
        "count",
        "create",
        "delete",
        "exclude",
        "exists",
        "filter",
        "first",
        "get",
        "get_or_create",
        "last",
        "update",
        "update_or_create",
        "values",
        "values_list",
    ]
)
"""Of Django's `Model.objects`."""

STRIPE: Final = re.compile(r"stripe\.[A-Z]\w*(?:\.[A-Z]\w*)*\.[a-z]\w*")
LOGGING: Final = frozenset(
    ["critical", "debug", "error", "exception", "fatal", "info", "log", "trace", "warn", "warning"]
)
