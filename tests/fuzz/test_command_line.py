"""Whatever is in a configuration file, a variable or the command line: a sentence, and no traceback."""

import io
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inngest_server.cli.arguments import parse
from inngest_server.cli.config import resolve
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.flags import FLAGS
from inngest_server.cli.main import main
from inngest_server.cli.serve import settings_of
from tests.fuzz.values import TEXTS, broken
from tests.fuzz.watchdog import watched

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = sorted({flag.name for flag in FLAGS})
VALUES = st.sampled_from([
    *TEXTS, "0", "1", "-1", "8288", "65536", "9" * 5_000, "1e3", "0x10", "true", "no", "127.0.0.1", "[::1]",
    ":::", "http://localhost:3000/api/inngest", "signkey-test-00", "7d", "1h", "all", "debug", "\ud800",
])  # fmt: skip
WORDS = (
    st.sampled_from(NAMES).map(lambda name: f"--{name}")
    | st.builds(lambda name, value: f"--{name}={value}", st.sampled_from(NAMES), VALUES)
    | VALUES
    | st.sampled_from(
        ["-v", "-h", "-", "--", "---", "-u", "-p", "--=", "--no-such-flag", "dev", "start", "doctor"]
    )
)
FILES = {
    "inngest.json": b'{"urls": ["http://a/x"], "no-poll": true, "port": 8300, "retention": "7d"}',
    "inngest.yaml": b"urls:\n  - http://a/x\nno-poll: true\nport: 8300\n&a: *a\nretention: '7d'\n",
    "inngest.toml": b'urls = ["http://a/x"]\nno-poll = true\nport = 8300\nretention = "7d"\n[a.b]\nc = 1\n',
    "inngest.properties": b"urls=http://a/x\nport:8300\nretention 7d\nhost=\\u0031.2\nx=\\\n  y\n",
}


@FUZZ
@given(st.sampled_from(["dev", "start", "doctor"]), st.lists(WORDS, max_size=6))
def test_any_words_are_settings_or_refused(command: str, words: list[str]) -> None:
    with watched(), suppress(ConfigError):
        arguments = parse([command, *words])
        if arguments.wants_help or not arguments.command:
            return
        config = resolve(arguments.command, arguments.flags, {}, Path("/nonexistent"))
        if arguments.command != "doctor":
            settings_of(config)


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(NAMES).map(lambda name: f"INNGEST_{name.upper().replace('-', '_')}"), VALUES
    )
)
def test_any_variables_are_settings_or_refused(environment: dict[str, str]) -> None:
    with watched(), suppress(ConfigError):
        settings_of(resolve("dev", {}, environment, Path("/nonexistent")))


@FUZZ
@given(st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), broken(FILES[name]))))
def test_any_file_is_settings_or_refused(tmp_path: Path, given_file: tuple[str, bytes]) -> None:
    name, content = given_file
    path = tmp_path / name
    path.write_bytes(content)
    try:
        with watched(), suppress(ConfigError):
            settings_of(resolve("dev", {}, {}, tmp_path))
    finally:
        path.unlink()


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("inngest.yaml", BOMB.encode()),
        ("inngest.yaml", b"[" * 20_000),
        ("inngest.yaml", b"a: " * 20_000),
        ("inngest.json", b"[" * 100_000),
        ("inngest.json", b'{"a":' * 50_000),
        ("inngest.toml", b"a = " + b"[" * 20_000),
        ("inngest.toml", b"[" + b"a." * 20_000 + b"b]"),
        ("inngest.toml", b"port = " + b"9" * 5_000),
        ("inngest.properties", b"a=\\\n" * 50_000),
        ("inngest.yaml", b"\xff\xfe\x00"),
        ("inngest.json", b"\x00" * 1_000),
    ],
)
def test_a_file_that_is_made_to_hurt_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with watched(), pytest.raises(ConfigError) as refused:
        resolve("dev", {}, {}, tmp_path)
    assert len(str(refused.value)) < 1_000


@FUZZ
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), max_size=3))
def test_the_command_itself_ends_with_a_status(words: list[str]) -> None:
    said = io.StringIO()
    with watched(), redirect_stdout(said), redirect_stderr(said), patch("os.environ", {}):
        if words[:1] in (["dev"], ["start"]):
            return  # It would serve.
        assert main(words) in (0, 1, 2)
    assert "Traceback" not in said.getvalue()
