"""The texts of `--help`: made from the table of flags, with what a newcomer needs to begin."""

import shutil
import textwrap

from inngest_server.cli.flags import COMMANDS, OPERANDS, SERVERS, Flag, Kind, flags_of

COLUMN = 30
WIDTH_MAX = 100

OVERVIEW = """\
Durable functions: events in, runs out, every step stored.

Usage: inngest COMMAND [flags]

Commands
{commands}

Begin with a server for development and tell it where your app serves its functions:

  inngest dev -u http://localhost:3000/api/inngest

Then start your app with INNGEST_DEV=1, and send it an event:

  curl localhost:8288/e/any -d '{{"name": "shop/order.placed", "data": {{"id": 1}}}}'

`inngest COMMAND --help` lists the flags of a command.
"""

CONFIGURATION = """\
Every flag is also a variable and a key of a file: --sdk-url is INNGEST_SDK_URL, and sdk-url (or urls) in
inngest.json, .yaml, .yml, .toml or .properties. A flag wins over a variable, that over the file, and that
over the default. Lists in variables are separated by commas.
"""

EXAMPLES = {
    "dev": """\
  inngest dev                                              apps announce themselves, data in .inngest
  inngest dev -u http://localhost:8000/api/inngest         ask this app for its functions
  inngest dev --in-memory                                  a throw-away server, as in tests
""",
    "start": """\
  export INNGEST_SIGNING_KEY=$(openssl rand -hex 32) INNGEST_EVENT_KEY=$(openssl rand -hex 16)
  inngest start --sqlite-dir /var/lib/inngest -u https://shop.example.com/api/inngest

Give the same keys to your apps, with INNGEST_DEV=0 and INNGEST_BASE_URL=http://this-server:8288.
""",
    "pause": """\
  inngest pause shop-fulfil                        hold its runs until it is resumed
  inngest pause shop-fulfil --in-flight cancel     end them now; what their app does at the moment is dropped

Events that come while it is paused are kept and start no run: a run that says Skipped stands for each.
""",
    "resume": """\
  inngest resume shop-fulfil

Runs that were held go on where they were. Skipped runs stay what they are.
""",
    "rerun": """\
  inngest rerun 01M7XS5QAHR7NVEGQZWEPCV45A                  once more, from the start
  inngest rerun 01M7XS5QAHR7NVEGQZWEPCV45A --from charge    keep what was completed before the step
""",
    "fork": """\
  inngest fork 01M7XS5QAHR7NVEGQZWEPCV45A --again mail
  inngest fork 01M7XS5QAHR7NVEGQZWEPCV45A --replace '{"charge": {"data": {"paid": false}}}' --again mail

Steps have the names that the run's trace shows; of several with one name the second is charge#2. What is
neither kept nor replaced is executed again.
""",
    "jobs": """\
  inngest jobs                                     the latest cancellations and replays of many runs
  inngest jobs 01M7XS5QAHR7NVEGQZWEPCV45A          how far one is, and what it could not decide
  inngest jobs stop 01M7XS5QAHR7NVEGQZWEPCV45A     what it did until now stays done
""",
    "explain": """\
  inngest explain 01M7XS5QAHR7NVEGQZWEPCV45A     a run: what it has passed, and what holds it back since when
  inngest explain order-1                        an event, by its sender's id or the one that sending returned

An event has a line for each function that it concerns: which run it started, or which rule kept it from that.
""",
    "history": """\
  inngest history 01M7XS5QAHR7NVEGQZWEPCV45A > histories.jsonl
  inngest history --function shop-fulfil --limit 50 > histories.jsonl

Histories have the events, results and errors of the runs as they are stored: keep them as you keep those.
""",
    "replay": """\
  inngest replay histories.jsonl --url http://localhost:8000/api/inngest

No step is executed: the app is asked what it would do next, and each step is answered from the history.
What the function does outside of its steps is done. The exit status is 0 when all runs follow, 1 when one
does not, and 2 when the app could not be asked.
""",
    "clock": """\
  inngest clock                          what time it is there, and what comes next
  inngest clock +3d                      forward, through everything that is due on the way
  inngest clock to 2026-12-24T18:00:00Z
  inngest clock next                     to the next moment at which something is due
  inngest clock until-idle [90d]         until nothing waits for time but crons
  inngest clock pause                    time stands still
  inngest clock real                     one second per second, from here on
  inngest clock stop                     end a move that is under way

The server must be one for development. Its time never goes back.
""",
    "lint": """\
  inngest lint                          every Python file in this folder and below
  inngest lint app/functions.py         one file; helpers are followed into the files that are given
  inngest lint --select ING001,ING002   only these rules
  inngest lint --explain ING010         what a rule is about
  inngest lint --format github          in a workflow

A function is called again for each of its steps. What it does outside of steps happens each time, and must
give the same result: no clock, no chance, no network. The code is read, not executed.

  started = datetime.now()                                                                    # not so
  started = await ctx.step.run("started", lambda: datetime.now().isoformat())                 # but so

A comment at the end of the line says that you know better: # inngest: ignore[ING001]
Settings of a project stand in its pyproject.toml: [tool.inngest.lint] with select, ignore and exclude.
The exit status is 0 when nothing was found, 1 when something was, and 2 when nothing could be looked at.
""",
    "doctor": """\
  inngest doctor --sqlite-dir /var/lib/inngest

The exit status is 0 when all is well, 1 when something is wrong, and 2 when it could not be examined.
""",
}


def overview() -> str:
    """What `inngest --help` prints."""
    width = _width()
    commands = "\n".join(_row(f"  {name}", text, 12, width) for name, text in COMMANDS.items())
    return OVERVIEW.format(commands=commands)


def help_of(command: str) -> str:
    """What `inngest COMMAND --help` prints."""
    width = _width()
    flags = flags_of(command)
    operands = f" {OPERANDS[command]}" if command in OPERANDS else ""
    parts = [f"{COMMANDS[command]}\n\nUsage: inngest {command}{operands}{' [flags]' if flags else ''}\n"]
    if command in EXAMPLES:
        parts.append(f"Examples\n{EXAMPLES[command]}")
    for group in dict.fromkeys(flag.group for flag in flags):
        rows = [_flag(flag, command, width) for flag in flags if flag.group == group]
        parts.append("\n".join([group, *rows]) + "\n")
    if command in SERVERS:
        parts.append(textwrap.fill(CONFIGURATION, width) + "\n")
    return "\n".join(parts)


def _flag(flag: Flag, command: str, width: int) -> str:
    takes = flag.takes or ("|".join(flag.choices) if flag.choices else flag.kind.value)
    if flag.name == "log-level":
        takes = "LEVEL"
    left = f"  {f'-{flag.short}, ' if flag.short else '    '}{flag.option} {takes}".rstrip()
    text = flag.help_of.get(command, flag.help)
    if flag.choices and takes == "LEVEL":
        text += f" One of {', '.join(flag.choices)}."
    default = flag.defaults[command]
    if default is not None and flag.kind is not Kind.SWITCH:
        text += f" Default: {default}."
    return _row(left, text, COLUMN, width)


def _row(left: str, text: str, column: int, width: int) -> str:
    """Two columns; a left side that is too long has a line of its own."""
    lines = textwrap.wrap(text, width - column, break_long_words=False, break_on_hyphens=False)
    if len(left) >= column:
        return "\n".join([left, *(" " * column + line for line in lines)])
    return "\n".join([left.ljust(column) + lines[0], *(" " * column + line for line in lines[1:])])


def _width() -> int:
    return max(60, min(shutil.get_terminal_size((WIDTH_MAX, 24)).columns, WIDTH_MAX))
