"""The command as it is typed: its help, its version, and what it says about mistakes."""

import subprocess
import sys

import pytest

from inngest_server import __version__
from inngest_server.cli.arguments import Arguments, parse
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.flags import COMMANDS, flags_of
from inngest_server.cli.main import main


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []])
def test_the_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == (0 if words else 2)
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["{} --help", "{} -h", "help {}", "--help {}"])
def test_the_help_of_a_command_names_all_its_flags(
    command: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(form.format(command).split()) == 0
    shown = capsys.readouterr().out
    assert [flag.name for flag in flags_of(command) if f"{flag.option} " not in shown] == []
    assert max(map(len, shown.splitlines())) <= 110


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n{__version__}\n"


def test_the_help_loads_nothing_of_the_server() -> None:
    code = (
        "import sys; from inngest_server.cli import main; main(['dev', '--help']);"
        "heavy = {'asyncio', 'aiohttp', 'uvicorn', 'structlog', 'orjson', 'yaml', 'inngest_server.app'};"
        "print(*(heavy & sys.modules.keys()), end='', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("deb", "there is no command 'deb'; did you mean 'dev'?"),
        ("dev --prot 1", "`inngest dev` has no flag --prot; did you mean --port?"),
        ("dev --port", "--port needs a value: --port NUMBER"),
        ("dev --host --port 1", "--host needs a value: --host ADDRESS"),
        ("dev -x", "`inngest dev` has no flag -x; see `inngest dev --help`"),
        ("dev --event-key a", "--event-key is a flag of `inngest start` only"),
        ("--port 1 dev", "--port stands behind the command: inngest dev --port ..."),
        ("dev more", "'more' is too much: `inngest dev` takes only flags"),
        ("version --port 1", "--port is a flag of `inngest dev` and `inngest start` only"),
        (
            "explain --port 1 a",
            "--port is a flag of `inngest dev` and `inngest start` only; the server is given by --server URL",
        ),
    ],
)
def test_mistakes_are_answered_with_what_to_try(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr().err == f"inngest: {message}\n"


def test_flags_are_read_in_all_their_spellings() -> None:
    assert parse(["dev", "-p", "1"]).flags == {"port": "1"}
    assert parse(["dev", "-p1"]).flags == {"port": "1"}
    assert parse(["dev", "--port=1"]).flags == {"port": "1"}
    assert parse(["dev", "--port", "1", "--port", "2"]).flags == {"port": "2"}
    assert parse(["dev", "-u", "a", "--sdk-url=b"]).flags == {"sdk-url": ["a", "b"]}
    assert parse(["dev", "--no-poll", "--json=false"]).flags == {"no-poll": "true", "json": "false"}
    assert parse(["--json", "-l", "debug", "dev"]) == Arguments("dev", {"json": "true", "log-level": "debug"})
    with pytest.raises(ConfigError):
        parse(["dev", "-"])


@pytest.mark.parametrize("host", ["no such host", "☃..x"])
def test_a_host_that_cannot_be_listened_on_is_named(host: str) -> None:
    code = "import sys; from inngest_server.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "dev", "--in-memory", "--host", host]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"inngest: cannot listen on {host}:8288: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_read_enough_is_no_fault() -> None:
    code = (
        "import os, sys; reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1);"
        "from inngest_server.cli.main import main; sys.exit(main(['--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_interruption_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[main.__module__], "_run", interrupted)
    assert main(["jobs"]) == 130
