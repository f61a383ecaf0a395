"""Every flag of the command line, once: its variable, its key in a file, its defaults and its help.

The parser, the help, the reading of variables and files, and the test of the reference page all read this
table, so a flag cannot exist in one of them only. It is data and imports next to nothing: `--help` must be
quick, and most of what a framework brings would be loaded to show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

PREFIX: Final = "INNGEST_"
"""Of every variable, ours and those of SDKs."""
SDK_VARIABLES: Final = frozenset(
    PREFIX + name
    for name in (
        "ALLOW_IN_BAND_SYNC",
        "API_BASE_URL",
        "BASE_URL",
        "CONNECT_GATEWAY_URL",
        "CONNECT_ISOLATE_EXECUTION",
        "CONNECT_MAX_WORKER_CONCURRENCY",
        "DEV",
        "DEVSERVER_URL",
        "ENABLE_UNAUTHED_SYNC",
        "ENV",
        "EVENT_API_BASE_URL",
        "EVENT_KEY",
        "LOG_LEVEL",
        "SERVE_HOST",
        "SERVE_ORIGIN",
        "SERVE_PATH",
        "SESSION_PROPAGATION",
        "SIGNING_KEY",
        "SIGNING_KEY_FALLBACK",
        "STREAMING",
        "THREAD_POOL_MAX_WORKERS",
    )
)
"""What SDKs read: app and server often share an environment. Source: features-3, 22; protocol 6.1 and 13."""


class Kind(Enum):
    """What a flag takes; the value is how the help writes it."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    SWITCH = ""
    LIST = "TEXT,..."
    """Repeatable; a text holds several separated by commas."""


Default = str | int | bool | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag. Commands that are not in `defaults` do not have it."""

    name: str
    help: str
    group: str
    defaults: Mapping[str, Default]
    kind: Kind = Kind.TEXT
    short: str = ""
    takes: str = ""
    """What the help writes for its value; that of the kind if empty."""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Further keys in a file."""
    idle: str = ""
    """Why it does nothing here; it is accepted."""
    unbuilt: str = ""
    """Why a server with it refuses to start."""
    help_of: Mapping[str, str] = field(default_factory=dict[str, str])
    """The help for commands that mean something else by it."""

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def option(self) -> str:
        return f"--{self.name}"


COMMANDS: Final = {
    "dev": "Run a server for development: no keys, and apps are asked again every few seconds.",
    "start": "Run a server for production: signed requests to apps, keys for everything that comes in.",
    "clock": "Show and move the time of a server for development: inngest clock +3d.",
    "pause": "Start no further runs of a function, and hold or cancel those that it has.",
    "resume": "Let a paused function go on.",
    "rerun": "Start a run again, from its start or from a step.",
    "fork": "Start a run with results of another one, some of them replaced, and execute the rest.",
    "jobs": "Show what is being done to many runs at once, and stop it.",
    "explain": "Say why a run is not running, or what became of an event.",
    "history": "Print what runs did, as lines of JSON that `inngest replay` reads.",
    "replay": "Check that the code of an app still follows what runs did.",
    "lint": "Find in source code what makes an Inngest function behave differently when it is called again.",
    "doctor": "Check the database: that nothing is lost, stuck, left behind or damaged. --repair mends it.",
    "version": "Print the version.",
}
SERVERS: Final = ("dev", "start")
OPERANDS: Final = {
    "clock": "[+DURATION | to TIME | ...]",
    "pause": "SLUG",
    "resume": "SLUG",
    "jobs": "[ID | stop ID]",
    "rerun": "RUN_ID",
    "fork": "RUN_ID",
    "explain": "RUN_ID | EVENT_ID",
    "history": "[RUN_ID ...]",
    "replay": "FILE ...",
    "lint": "[FILE | FOLDER ...]",
}
"""Commands that take words besides flags, and how the help writes those."""
CLIENTS: Final = ("clock", "pause", "resume", "jobs", "rerun", "fork", "explain", "history")
"""Commands that ask a running server for something, with `cli/client.py`."""
GLOBAL: Final = ("json", "verbose", "log-level")
"""Flags that may also stand before the command."""


def both(default: Default) -> dict[str, Default]:
    return dict.fromkeys(SERVERS, default)


def asking(value: T) -> dict[str, T]:
    return dict.fromkeys(CLIENTS, value)


LISTENING, APPS, KEYS, ASKING = "Listening", "Apps", "Keys", "What to do, and which server is asked"
LOOKING = "What is looked for, and how it is told"
FOLLOWING = "Which app is asked, and what counts"
STORAGE, RUNS, LOGS = "Storage", "Runs", "Configuration and logs"
NO_EFFECT, NOT_BUILT = "Accepted, without effect here", "Not built yet: a server with these refuses to start"
NO_POSTGRES = "there is no PostgreSQL to pool connections to"

FLAGS: Final = (
    Flag(
        name="in-flight",
        group=ASKING,
        takes="WHAT",
        choices=("hold", "cancel"),
        defaults={"pause": "hold"},
        help="What becomes of the runs that the function has: hold them until it is resumed, and cancel them "
        "after seven days, or cancel them now. One of hold, cancel.",
    ),
    Flag(
        name="from",
        group=ASKING,
        takes="STEP",
        defaults={"rerun": None},
        help="Begin at this step: keep what was completed before it. Its name, or its id.",
    ),
    Flag(
        name="input",
        group=ASKING,
        takes="JSON",
        defaults={"rerun": None},
        help="Arguments for that step in place of its own: an array. For TypeScript, and for AI requests.",
    ),
    Flag(
        name="keep",
        group=ASKING,
        takes="STEPS",
        kind=Kind.LIST,
        defaults={"fork": None},
        help="Steps whose results the new run begins with. Without it, all that have one.",
    ),
    Flag(
        name="again",
        group=ASKING,
        takes="STEPS",
        kind=Kind.LIST,
        defaults={"fork": None},
        help="Of these, the steps to execute again.",
    ),
    Flag(
        name="replace",
        group=ASKING,
        takes="JSON",
        defaults={"fork": None},
        help='Other results by step: {"charge": {"data": 5}, "mail": {"error": {"message": "down"}}}.',
    ),
    Flag(
        name="event",
        group=ASKING,
        takes="JSON",
        defaults=dict.fromkeys(("rerun", "fork")),
        help="Other data, or user, of the event: an object with either or both.",
    ),
    Flag(
        name="dry-run",
        group=ASKING,
        kind=Kind.SWITCH,
        defaults=dict.fromkeys(("rerun", "fork"), False),
        help="Start nothing, and say what would be kept.",
    ),
    Flag(
        name="function",
        group=ASKING,
        takes="SLUG",
        defaults={"history": None},
        help="The latest runs of this function, besides those that are named.",
    ),
    Flag(
        name="limit",
        group=ASKING,
        kind=Kind.NUMBER,
        minimum=1,
        maximum=1_000,
        defaults={"history": 20},
        help="How many runs of the function.",
    ),
    Flag(
        name="status",
        group=ASKING,
        choices=("scheduled", "running", "completed", "failed", "cancelled"),
        defaults={"history": None},
        help="Only runs of the function that stand so. One of scheduled, running, completed, failed, "
        "cancelled.",
    ),
    Flag(
        name="server",
        group=ASKING,
        takes="URL",
        defaults=asking(None),
        help="The server. Without it, the one that runs on --sqlite-dir, else http://127.0.0.1:8288.",
    ),
    Flag(
        name="select",
        group=LOOKING,
        takes="RULES",
        kind=Kind.LIST,
        defaults={"lint": None},
        help="Look for these only: codes, names or beginnings of codes, such as ING001,ING01. ING is every "
        "rule. Without it, all but those that the reference calls opt-in.",
    ),
    Flag(
        name="ignore",
        group=LOOKING,
        takes="RULES",
        kind=Kind.LIST,
        defaults={"lint": None},
        help="Do not look for these.",
    ),
    Flag(
        name="exclude",
        group=LOOKING,
        takes="PATTERNS",
        kind=Kind.LIST,
        defaults={"lint": None},
        help="Leave out files and folders of these names or paths, such as tests,*_pb2.py.",
    ),
    Flag(
        name="format",
        group=LOOKING,
        choices=("text", "json", "github"),
        defaults={"lint": "text"},
        help="Text for people, one JSON object, or annotations of GitHub.",
    ),
    Flag(
        name="explain",
        group=LOOKING,
        takes="RULE",
        defaults={"lint": None},
        help="Say what a rule finds and why, and look at nothing.",
    ),
    Flag(
        name="url",
        short="u",
        group=FOLLOWING,
        takes="URL",
        defaults={"replay": None},
        help="Where the app serves its functions, such as http://localhost:8000/api/inngest.",
    ),
    Flag(
        name="compare-output",
        group=FOLLOWING,
        kind=Kind.SWITCH,
        defaults={"replay": False},
        help="Count it as a difference when a function returns something else than the run did.",
    ),
    Flag(
        name="host",
        group=LISTENING,
        takes="ADDRESS",
        defaults={"dev": "127.0.0.1", "start": "0.0.0.0"},
        help="Address to listen on, with or without `http://`. 0.0.0.0 is every address of this machine.",
        help_of={
            "start": "Address to listen on, with or without `http://`. 0.0.0.0 is every address of this "
            "machine; with --insecure the default is 127.0.0.1."
        },
    ),
    Flag(
        name="port",
        short="p",
        group=LISTENING,
        kind=Kind.NUMBER,
        minimum=1,
        defaults=both(8288),
        help="Port to listen on, for events, the API and apps.",
    ),
    Flag(
        name="allowed-host",
        group=LISTENING,
        kind=Kind.LIST,
        takes="NAME,...",
        defaults={"dev": None},
        help="Further host name under which browsers may use the server, as behind a tunnel.",
    ),
    Flag(
        name="no-ui",
        group=LISTENING,
        kind=Kind.SWITCH,
        defaults=both(False),
        help="Answer no GraphQL. A web interface is not built yet; this will turn it off too.",
    ),
    Flag(
        name="sdk-url",
        short="u",
        group=APPS,
        kind=Kind.LIST,
        takes="URL,...",
        keys=("urls",),
        defaults=both(None),
        help="URL at which an app serves its functions, such as http://localhost:3000/api/inngest. "
        "Repeat it for several apps. Apps that announce themselves, or are found, need none.",
    ),
    Flag(
        name="no-discovery",
        group=APPS,
        kind=Kind.SWITCH,
        defaults={"dev": False},
        help="Do not look for apps on the ports and paths where they usually are.",
    ),
    Flag(
        name="no-poll",
        group=APPS,
        kind=Kind.SWITCH,
        defaults={"dev": False},
        help="Do not ask apps again for changed functions; only those that never answered, or failed, are.",
    ),
    Flag(
        name="poll-interval",
        group=APPS,
        kind=Kind.NUMBER,
        takes="SECONDS",
        minimum=0,
        defaults={"dev": 5, "start": 0},
        help="Seconds between asking apps for changed functions; 0 is as --no-poll.",
        help_of={
            "start": "Seconds between asking apps for changed functions; 0 asks only those of --sdk-url that "
            "never answered, or failed."
        },
    ),
    Flag(
        name="app-connections",
        group=APPS,
        kind=Kind.NUMBER,
        minimum=1,
        defaults=both(256),
        help="Calls to one app at a time; more wait until one is answered.",
    ),
    Flag(
        name="allow-private-gateway",
        group=APPS,
        kind=Kind.SWITCH,
        defaults={"start": False},
        help="Let requests that steps have the server make (step.fetch, step.ai.infer) reach private "
        "networks and this machine. A server for development always does.",
    ),
    Flag(
        name="signing-key",
        group=KEYS,
        takes="KEY",
        defaults={"start": None, "doctor": None, "replay": None, **asking(None)},
        help="Secret shared with the apps: hex of even length, as `openssl rand -hex 32` makes it. Other "
        "users of this machine can read a flag; prefer the variable or a file.",
        help_of={
            "doctor": "Key of the server that runs on the directory; one for development needs none.",
            "replay": "Key of the app; one in development mode needs none.",
            **asking("Key of the server; one for development needs none."),
        },
    ),
    Flag(
        name="event-key",
        group=KEYS,
        kind=Kind.LIST,
        takes="KEY,...",
        defaults={"start": None},
        help="Key with which apps may send events. Any text; repeat it for several.",
    ),
    Flag(
        name="insecure",
        group=KEYS,
        kind=Kind.SWITCH,
        defaults={"start": False},
        help="Start without keys: everybody who can connect may do everything.",
    ),
    Flag(
        name="sqlite-dir",
        group=STORAGE,
        takes="DIR",
        defaults={**both(".inngest"), "doctor": ".inngest", **asking(".inngest")},
        help="Directory of the database `main.db`; made when it is not there. In a file it is relative to "
        "that file.",
        help_of={
            "doctor": "Directory of the database, of a server that has stopped or one that runs.",
            **asking("Directory of the server's database, which says where the server listens."),
        },
    ),
    Flag(
        name="repair",
        group=STORAGE,
        kind=Kind.SWITCH,
        defaults={"doctor": False},
        help="Put right what can be put right, and examine again. Without it nothing is changed: what would "
        "be done is only listed. A server that runs on the directory does it itself.",
    ),
    Flag(
        name="no-backup",
        group=STORAGE,
        kind=Kind.SWITCH,
        defaults={"doctor": False},
        help="Repair without a copy of the database. Otherwise it is copied to main.db.before-repair-TIME.",
    ),
    Flag(
        name="in-memory",
        group=STORAGE,
        kind=Kind.SWITCH,
        defaults=both(False),
        help="Keep nothing: start empty, end empty.",
    ),
    Flag(
        name="relaxed",
        group=STORAGE,
        kind=Kind.SWITCH,
        defaults=both(False),
        help="Acknowledge before the disk has it. A power failure may then lose what was acknowledged in the "
        "last moments (until the next checkpoint of the database); a crash of the server loses nothing.",
    ),
    Flag(
        name="retention",
        group=STORAGE,
        takes="DURATION",
        defaults=both("7d"),
        help="How long ended runs and events are kept, at least a day; `0` for ever.",
    ),
    Flag(
        name="retention-size",
        group=STORAGE,
        takes="SIZE",
        defaults=both("0"),
        help="What the database may take, such as `10GB`. Beyond it the oldest ended runs and events go "
        "before their time, but none younger than a day. `0` is no limit.",
    ),
    Flag(
        name="retry-interval",
        group=RUNS,
        kind=Kind.NUMBER,
        takes="SECONDS",
        minimum=0,
        defaults=both(0),
        help="Constant seconds between tries of a step that failed; 0 backs off, from 15 seconds to two "
        "hours.",
    ),
    Flag(
        name="priority-max",
        group=RUNS,
        kind=Kind.NUMBER,
        takes="SECONDS",
        minimum=0,
        maximum=43_200,
        defaults=both(600),
        help="By how much a function's `priority` may move its runs ahead of others that wait, or behind "
        "them. More counts as this.",
    ),
    Flag(
        name="cron-catch-up",
        group=RUNS,
        choices=("skip", "one", "all"),
        defaults=both("skip"),
        help="What happens to cron times that were missed while no server ran.",
    ),
    Flag(
        name="clock",
        group=RUNS,
        choices=("real", "virtual"),
        defaults={"dev": "real"},
        help="Time for sleeps, timeouts, retries, crons and all else that waits. It runs, or when virtual "
        "stands still. `inngest clock` moves it, either way.",
    ),
    Flag(
        name="clock-absolute",
        group=RUNS,
        kind=Kind.SWITCH,
        defaults={"dev": False},
        help="Take dates that apps send as they are. Without it they are moved as the server's time was, "
        "because apps compute them from their own clock.",
    ),
    Flag(
        name="config",
        group=LOGS,
        takes="FILE",
        defaults={**both(None), "doctor": None, "replay": None, **asking(None)},
        help="File with these flags as keys. Without it inngest.json, .yaml, .yml, .toml or .properties is "
        "looked for in the working directory and the directories above it.",
    ),
    Flag(
        name="log-level",
        short="l",
        group=LOGS,
        choices=("trace", "debug", "info", "warn", "warning", "error"),
        defaults=both("info"),
        help="The least important lines that are logged.",
    ),
    Flag(
        name="verbose",
        group=LOGS,
        kind=Kind.SWITCH,
        defaults=both(False),
        help="As --log-level debug, unless a level is given.",
    ),
    Flag(
        name="json",
        group=LOGS,
        kind=Kind.SWITCH,
        defaults={**both(False), "doctor": False, "replay": False, **asking(False)},
        help_of={
            **dict.fromkeys(("doctor", "replay"), "Report as one JSON object."),
            **asking("Print the server's answer as it is."),
            "history": "Changes nothing: what is printed is JSON.",
        },
        help="Log as JSON even on a terminal. Without a terminal the log always is.",
    ),
    Flag(
        name="tick",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        takes="MS",
        minimum=0,
        defaults=both(150),
        idle="due work starts at once, nothing is polled",
        help="Milliseconds between looks at the queue. Due work starts at once here.",
    ),
    Flag(
        name="queue-workers",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        minimum=0,
        defaults=both(100),
        idle="calls are bounded per app, by --app-connections",
        help="Workers that take from the queue. Calls are bounded per app here, by --app-connections.",
    ),
    Flag(
        name="connect-gateway-port",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        takes="PORT",
        minimum=0,
        defaults=both(8289),
        idle="there is no Connect gateway yet",
        help="Port for Connect workers. There is no gateway yet.",
    ),
    Flag(
        name="postgres-max-idle-conns",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        minimum=0,
        defaults={"start": 10},
        idle=NO_POSTGRES,
        help="Idle connections kept to PostgreSQL.",
    ),
    Flag(
        name="postgres-max-open-conns",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        minimum=0,
        defaults={"start": 100},
        idle=NO_POSTGRES,
        help="Connections to PostgreSQL at most.",
    ),
    Flag(
        name="postgres-conn-max-idle-time",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        takes="MINUTES",
        minimum=0,
        defaults={"start": 5},
        idle=NO_POSTGRES,
        help="Minutes for which a connection to PostgreSQL may be idle.",
    ),
    Flag(
        name="postgres-conn-max-lifetime",
        group=NO_EFFECT,
        kind=Kind.NUMBER,
        takes="MINUTES",
        minimum=0,
        defaults={"start": 30},
        idle=NO_POSTGRES,
        help="Minutes for which a connection to PostgreSQL may be used.",
    ),
    Flag(
        name="redis-uri",
        group=NOT_BUILT,
        takes="URI",
        defaults={"start": None},
        unbuilt="Redis is not built yet: runs are kept in SQLite, in --sqlite-dir",
        help="Redis server for the queue and the state of runs.",
    ),
    Flag(
        name="postgres-uri",
        group=NOT_BUILT,
        takes="URI",
        defaults={"start": None},
        unbuilt="PostgreSQL is not built yet: everything is kept in SQLite, in --sqlite-dir",
        help="PostgreSQL database for configuration and history.",
    ),
)
BY_NAME: Final = {flag.name: flag for flag in FLAGS}
BY_KEY: Final = {key: flag for flag in FLAGS for key in (flag.name, *flag.keys)}


def flags_of(command: str) -> list[Flag]:
    """The flags of a command, in the order in which the help shows them."""
    return [flag for flag in FLAGS if command in flag.defaults]
