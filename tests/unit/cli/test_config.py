"""Precedence, conversion and refusals of the configuration."""

import json
from pathlib import Path

import pytest

from inngest_server.cli.arguments import parse
from inngest_server.cli.config import Config, resolve
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.flags import FLAGS, SERVERS, Flag, Kind, flags_of
from inngest_server.cli.serve import settings_of
from inngest_server.execution.prober import PORTS
from inngest_server.flow_control.priority import PRIORITY_LIMIT_S, PRIORITY_MAX_S

KEYS = {"INNGEST_SIGNING_KEY": "signkey-prod-0123abcd", "INNGEST_EVENT_KEY": "one,two"}


def config(directory: Path, line: str, environment: dict[str, str] | None = None) -> Config:
    arguments = parse(line.split())
    return resolve(arguments.command, arguments.flags, environment or {}, directory)


def file(directory: Path, text: str, name: str = "inngest.yaml") -> Path:
    (directory / name).write_text(text)
    return directory / name


def test_a_flag_wins_over_a_variable_that_over_the_file_and_that_over_the_default(tmp_path: Path) -> None:
    assert config(tmp_path, "dev").number("port") == 8288
    file(tmp_path, "port: 1\n")
    assert config(tmp_path, "dev").number("port") == 1
    assert config(tmp_path, "dev", {"INNGEST_PORT": "2"}).number("port") == 2
    assert config(tmp_path, "dev --port 3", {"INNGEST_PORT": "2"}).number("port") == 3


def text_for(flag: Flag) -> str:
    if flag.name == "config":
        return "other.yaml"
    if flag.choices:
        return flag.choices[-1]
    return {Kind.SWITCH: "true", Kind.NUMBER: "77", Kind.LIST: "a,b", Kind.TEXT: "text"}[flag.kind]


@pytest.mark.parametrize("command", SERVERS)
@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_works_as_flag_variable_and_key(flag: Flag, command: str, tmp_path: Path) -> None:
    if command not in flag.defaults:
        with pytest.raises(ConfigError, match=f"{flag.option} is a flag of"):
            parse([command, flag.option, "x"])
        return
    file(tmp_path, "", "other.yaml")
    text = text_for(flag)
    given = config(tmp_path, f"{command} {flag.option}={text}").values[flag.name]
    assert given != flag.defaults[command]
    assert config(tmp_path, command, {flag.variable: text}).values[flag.name] == given
    if flag.name != "config":
        for key in (flag.name, *flag.keys):
            file(tmp_path, f"{key} = {text}\n", "inngest.properties")
            from_file = config(tmp_path, command).values[flag.name]
            assert from_file == (str(tmp_path / "text") if flag.name == "sqlite-dir" else given)


def test_lists_are_separated_by_commas_or_repeated(tmp_path: Path) -> None:
    wanted = ("http://a/x", "http://b/x")
    assert config(tmp_path, "dev -u http://a/x -u http://b/x").texts("sdk-url") == wanted
    assert config(tmp_path, "dev --sdk-url http://a/x,http://b/x").texts("sdk-url") == wanted
    assert config(tmp_path, "dev", {"INNGEST_SDK_URL": "http://a/x, http://b/x,"}).texts("sdk-url") == wanted
    file(tmp_path, "urls: [http://a/x, http://b/x]")
    assert config(tmp_path, "dev").texts("sdk-url") == wanted


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert config(tmp_path, "dev", {"INNGEST_PORT": "", "INNGEST_HOST": " "}).given == {}


@pytest.mark.parametrize(("text", "value"), [("1", True), ("YES", True), ("off", False), ("0", False)])
def test_switches_take_the_usual_words(text: str, value: bool, tmp_path: Path) -> None:
    assert config(tmp_path, "dev", {"INNGEST_NO_POLL": text}).switch("no-poll") is value
    assert config(tmp_path, f"dev --no-poll={text}").switch("no-poll") is value


def test_keys_may_be_written_with_underscores_and_capitals(tmp_path: Path) -> None:
    file(tmp_path, "SDK_URL: http://a/x\n")
    assert config(tmp_path, "dev").texts("sdk-url") == ("http://a/x",)


def test_a_directory_in_a_file_is_relative_to_it(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    file(tmp_path, "sqlite-dir: data\n")
    assert config(below, "dev").text("sqlite-dir") == str(tmp_path / "data")
    assert config(below, "dev --sqlite-dir data").text("sqlite-dir") == "data"
    file(tmp_path, "sqlite-dir: /var/lib/x\n")
    assert config(below, "dev").text("sqlite-dir") == "/var/lib/x"


def test_a_named_file_replaces_the_one_that_would_be_found(tmp_path: Path) -> None:
    file(tmp_path, "port: 1\n")
    file(tmp_path, "port = 2\n", "other.toml")
    assert config(tmp_path, "dev --config other.toml").number("port") == 2
    assert config(tmp_path, "dev", {"INNGEST_CONFIG": str(tmp_path / "other.toml")}).number("port") == 2
    with pytest.raises(ConfigError, match=r"--config: there is no file .*gone\.toml"):
        config(tmp_path, "dev --config gone.toml")
    for odd in ("x" * 5000, "~nobody-has-this-name/x", "a\0b"):
        with pytest.raises(ConfigError, match="INNGEST_CONFIG: there is no file"):
            config(tmp_path, "dev", {"INNGEST_CONFIG": odd})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host: x\nprot: 1\n", r"inngest\.yaml line 2: there is no setting 'prot'; did you mean 'port'\?"),
        ("wibblewobble: 1\n", r"line 1: there is no setting 'wibblewobble'; see `inngest start --help`"),
        ("urls: [a]\nsdk-url: [b]\n", r"line 2: sdk-url was given before, as .* line 1: urls"),
        ("port: many\n", r"line 1: port: 'many' is not a whole number"),
        ("port: [1, 2]\n", r"line 1: port takes one value and not a list"),
        ("no-poll: maybe\n", r"line 1: no-poll: 'maybe' is neither true nor false"),
        ("cron-catch-up: some\n", r"line 1: cron-catch-up: 'some' is not one of skip, one, all"),
        ("app-connections: 0\n", r"line 1: app-connections: 0 is less than 1"),
        ("host: ''\n", r"line 1: host is empty"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    file(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, "dev")


def test_keys_of_the_other_command_are_left_out_and_named(tmp_path: Path) -> None:
    file(tmp_path, "no-poll: true\nsigning-key: abcd\n")
    (at,) = config(tmp_path, "dev").foreign
    assert at.endswith("line 2: signing-key")
    assert config(tmp_path, "dev").without_effect() == {at: "is not a flag of `inngest dev`"}


def test_mistyped_variables_are_named_with_the_nearest(tmp_path: Path) -> None:
    environment = {
        "INNGEST_POLL_INTERVALL": "5",
        "INNGEST_WIBBLE": "1",
        "INNGEST_REDIS_URI": "a flag of the other command",
        "INNGEST_DEV": "an SDK's",
        "INNGEST_SIGNING_KEY_FALLBACK": "an SDK's",
        "PORT": "1",
    }
    assert config(tmp_path, "dev", environment).mistyped == (
        "there is no setting INNGEST_POLL_INTERVALL; did you mean INNGEST_POLL_INTERVAL?",
        "there is no setting INNGEST_WIBBLE; it does nothing",
    )


# The documented flags. Sources: features-1, 1; features-3, 18; protocol 10.3.
DEV = "config host no-discovery no-poll port sdk-url poll-interval retry-interval queue-workers tick"
START = (
    "config host port sdk-url signing-key event-key sqlite-dir redis-uri postgres-uri "
    "postgres-max-idle-conns postgres-max-open-conns postgres-conn-max-idle-time postgres-conn-max-lifetime "
    "poll-interval retry-interval queue-workers tick connect-gateway-port no-ui"
)
GLOBAL = "json verbose log-level"


@pytest.mark.parametrize(("command", "names"), [("dev", DEV + " connect-gateway-port"), ("start", START)])
def test_every_documented_flag_is_there(command: str, names: str) -> None:
    known = {flag.name for flag in flags_of(command)}
    assert {*names.split(), *GLOBAL.split()} - known == set()
    shorts = {flag.short: flag.name for flag in flags_of(command) if flag.short}
    assert shorts == {"p": "port", "u": "sdk-url", "l": "log-level"}


FORMS = {
    "inngest.json": '{{"{key}": {json}}}',
    "inngest.yaml": "{key}: {json}\n",
    "inngest.yml": "{key}: {json}\n",
    "inngest.toml": "{key} = {json}\n",
    "inngest.properties": "{key} = {text}\n",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("command", SERVERS)
def test_every_flag_is_a_key_of_every_form_of_file(command: str, name: str, tmp_path: Path) -> None:
    for flag in flags_of(command):
        if flag.name == "config":
            continue
        text = text_for(flag)
        value = json.dumps({Kind.SWITCH: True, Kind.NUMBER: 77, Kind.LIST: ["a", "b"]}.get(flag.kind, text))
        file(tmp_path, FORMS[name].format(key=flag.name, json=value, text=text), name)
        given = config(tmp_path, f"{command} {flag.option}={text}").values[flag.name]
        wanted = str(tmp_path / "text") if flag.name == "sqlite-dir" else given
        assert config(tmp_path, command).values[flag.name] == wanted, flag.name


def test_flags_without_an_effect_are_named_only_when_given(tmp_path: Path) -> None:
    assert config(tmp_path, "start").without_effect() == {}
    given = config(tmp_path, "start --tick 10", {"INNGEST_QUEUE_WORKERS": "5"}).without_effect()
    assert list(given) == ["--tick", "INNGEST_QUEUE_WORKERS"]
    settings_of(config(tmp_path, "start --tick 10", KEYS))


@pytest.mark.parametrize("name", ["redis-uri", "postgres-uri"])
def test_what_is_not_built_is_refused_wherever_it_is_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--{name}: .* is not built yet"):
        settings_of(config(tmp_path, f"start --{name} x://y", KEYS))
    file(tmp_path, f"{name}: x://y\n")
    with pytest.raises(ConfigError, match=f"line 1: {name}: .* is not built yet"):
        settings_of(config(tmp_path, "start", KEYS))


# ---- settings -----------------------------------------------------------------------------------


def test_the_defaults_of_dev_and_start(tmp_path: Path) -> None:
    dev, start = settings_of(config(tmp_path, "dev")), settings_of(config(tmp_path, "start", KEYS))
    assert (dev.host, dev.port, dev.poll, dev.poll_interval_s) == ("127.0.0.1", 8288, True, 5)
    assert (start.host, start.port, start.poll, start.poll_interval_s) == ("0.0.0.0", 8288, False, 5)
    assert (start.signing_key, start.event_keys) == ("0123abcd", ("one", "two"))


def test_start_polls_when_it_is_given_an_interval_and_dev_does_not_at_zero(tmp_path: Path) -> None:
    start = settings_of(config(tmp_path, "start --poll-interval 60", KEYS))
    assert (start.poll, start.poll_interval_s) == (True, 60)
    assert settings_of(config(tmp_path, "dev --poll-interval 0")).poll is False
    assert settings_of(config(tmp_path, "dev --no-poll")).poll is False


def test_apps_are_looked_for_in_development_and_not_on_the_servers_own_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "7777")
    ports = settings_of(config(tmp_path, "dev -p 8000")).discovery_ports
    assert {80, 443, 3000, 3010, 4321, 5000, 5173, 8080, 8081, 8787, 8888, 8910, 8915, 7777} <= {*ports}
    assert 8000 not in ports
    assert settings_of(config(tmp_path, "dev --no-discovery")).discovery_ports == ()
    assert settings_of(config(tmp_path, "start", KEYS)).discovery_ports == ()


@pytest.mark.parametrize("port", ["", "x", "0", "70000", "9" * 5000, "-1"])
def test_a_port_variable_of_nonsense_is_left_alone(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", port)
    assert settings_of(config(tmp_path, "dev")).discovery_ports == PORTS


def test_requests_of_steps_reach_private_networks_in_dev_or_when_allowed(tmp_path: Path) -> None:
    assert settings_of(config(tmp_path, "dev")).allow_private_gateway
    assert not settings_of(config(tmp_path, "start", KEYS)).allow_private_gateway
    assert settings_of(config(tmp_path, "start --allow-private-gateway", KEYS)).allow_private_gateway


def test_an_open_server_listens_to_this_machine_unless_told_otherwise(tmp_path: Path) -> None:
    assert settings_of(config(tmp_path, "start --insecure")).host == "127.0.0.1"
    assert settings_of(config(tmp_path, "start --insecure --host 0.0.0.0")).host == "0.0.0.0"


def test_how_far_a_priority_moves_is_as_documented_unless_it_is_given(tmp_path: Path) -> None:
    assert settings_of(config(tmp_path, "dev")).priority_max_s == PRIORITY_MAX_S
    widest = settings_of(config(tmp_path, f"dev --priority-max {PRIORITY_LIMIT_S}"))
    assert widest.priority_max_s == PRIORITY_LIMIT_S


@pytest.mark.parametrize("text", ["http://localhost", "localhost", "https://localhost/"])
def test_the_host_may_have_a_scheme(text: str, tmp_path: Path) -> None:
    assert settings_of(config(tmp_path, f"dev --host {text}")).host == "localhost"


def test_verbose_is_debug_unless_a_level_is_given(tmp_path: Path) -> None:
    assert settings_of(config(tmp_path, "dev --verbose")).log_level == "debug"
    assert settings_of(config(tmp_path, "dev --verbose -l warn")).log_level == "warn"
    assert settings_of(config(tmp_path, "--log-level trace dev")).log_level == "trace"


@pytest.mark.parametrize(
    ("line", "environment", "message"),
    [
        ("start", {}, "needs a signing key"),
        ("start --signing-key abcd", {}, "needs an event key"),
        ("start", {**KEYS, "INNGEST_SIGNING_KEY": "xyz"}, "INNGEST_SIGNING_KEY: "),
        ("dev --retention soon", {}, "--retention: "),
        ("dev --retention-size many", {}, "--retention-size: 'many' is not valid here"),
        ("dev --retention-size 9MB", {}, "--retention-size: '9MB' is not valid here"),
        ("dev --retention=-5d", {}, "--retention: ended runs are kept at least a day"),
        ("dev -u ::", {}, "--sdk-url: "),
        ("dev -p 70000", {}, "--port: 70000 is more than 65535"),
        ("dev --priority-max 43201", {}, "--priority-max: 43201 is more than 43200"),
        ("dev --host localhost:8288", {}, "the port is a flag of its own"),
        ("dev", {"INNGEST_LOG_LEVEL": "loud"}, "INNGEST_LOG_LEVEL: 'loud' is not one of trace, debug"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    line: str, environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(config(tmp_path, line, environment))
    assert message in str(caught.value)
