"""What a client's arguments and the environment come to."""

from datetime import timedelta
from typing import Any

import pytest

from inngest._config import Mode, Streaming, resolve_serving, thread_pool_workers
from inngest.client import Inngest
from inngest.errors import ConfigError, URLInvalidError
from inngest.serializer import PydanticSerializer

CLOUD = ("https://api.inngest.com", "https://inn.gs")
DEV = ("http://127.0.0.1:8288", "http://127.0.0.1:8288")


def origins(client: Inngest) -> tuple[str, str]:
    return client.api_origin, client.event_api_origin


def test_production_is_the_default() -> None:
    client = Inngest(app_id="app")

    assert client.is_production
    assert origins(client) == CLOUD


@pytest.mark.parametrize(
    ("value", "is_production", "wanted"),
    [
        ("1", False, DEV),
        ("true", False, DEV),
        ("YES", False, DEV),
        ("0", True, CLOUD),
        ("false", True, CLOUD),
        ("", True, CLOUD),
        ("http://dev.local:9000/", False, ("http://dev.local:9000", "http://dev.local:9000")),
        ("localhost:9000", False, ("http://localhost:9000", "http://localhost:9000")),
    ],
)
def test_inngest_dev_is_yes_no_or_an_address(
    value: str, is_production: bool, wanted: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_DEV", value)

    client = Inngest(app_id="app")

    assert (client.is_production, origins(client)) == (is_production, wanted)


@pytest.mark.parametrize("value", ["maybe", "ftp://x:1", "2", "http://:80"])
def test_another_value_of_inngest_dev_is_refused_by_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", value)

    with pytest.raises(ConfigError, match=f"INNGEST_DEV is '{value}'.*(address|8288)"):
        Inngest(app_id="app")


def test_the_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", "http://dev.local:9000")

    assert origins(Inngest(app_id="app", is_production=True)) == CLOUD
    monkeypatch.setenv("INNGEST_DEV", "0")
    assert origins(Inngest(app_id="app", is_production=False)) == DEV


def test_the_more_special_address_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", "http://dev:1")
    monkeypatch.setenv("INNGEST_BASE_URL", "http://both:2")
    monkeypatch.setenv("INNGEST_API_BASE_URL", "http://api:3")

    assert origins(Inngest(app_id="app")) == ("http://api:3", "http://both:2")
    assert origins(Inngest(app_id="app", base_url="http://mine:4")) == ("http://api:3", "http://mine:4")
    given = Inngest(app_id="app", api_base_url="http://a:5/", event_api_base_url="http://e:6")
    assert origins(given) == ("http://a:5", "http://e:6")


@pytest.mark.parametrize(
    ("argument", "variable"),
    [
        ("env", "INNGEST_ENV"),
        ("event_key", "INNGEST_EVENT_KEY"),
        ("signing_key", "INNGEST_SIGNING_KEY"),
        ("signing_key_fallback", "INNGEST_SIGNING_KEY_FALLBACK"),
    ],
)
def test_keys_and_environment_come_from_argument_or_variable(
    argument: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(Inngest(app_id="app"), argument) is None
    monkeypatch.setenv(variable, "from-variable")
    assert getattr(Inngest(app_id="app"), argument) == "from-variable"
    options: dict[str, Any] = {argument: "from-argument"}
    assert getattr(Inngest(app_id="app", **options), argument) == "from-argument"
    monkeypatch.setenv(variable, "")
    assert getattr(Inngest(app_id="app"), argument) is None


def test_an_address_that_is_none_is_refused_with_the_name_of_its_option() -> None:
    with pytest.raises(URLInvalidError, match="event_api_base_url is 'nowhere'"):
        Inngest(app_id="app", event_api_base_url="nowhere")
    with pytest.raises(ValueError, match="api_base_url"):
        Inngest(app_id="app", api_base_url="http://host:99999")


@pytest.mark.parametrize("app_id", ["", "  ", None, 5, "x" * 1001])
def test_an_app_needs_an_id(app_id: Any) -> None:
    with pytest.raises(ConfigError, match="app_id"):
        Inngest(app_id=app_id)


def test_the_request_timeout_is_any_duration() -> None:
    assert Inngest(app_id="app", request_timeout=1500).settings.request_timeout == timedelta(seconds=1.5)
    assert Inngest(app_id="app", request_timeout="2m").settings.request_timeout == timedelta(minutes=2)


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_a_request_timeout_that_nobody_can_meet_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="request_timeout"):
        Inngest(app_id="app", request_timeout=timeout)


@pytest.mark.parametrize("env", ["a\r\nx-evil: 1", "brünch"])
def test_an_environment_that_is_no_header_is_refused(env: str) -> None:
    with pytest.raises(ConfigError, match=r"env \(INNGEST_ENV\)"):
        Inngest(app_id="app", env=env)


def test_several_clients_live_beside_each_other() -> None:
    dev = Inngest(app_id="a", is_production=False, event_key="x")
    cloud = Inngest(app_id="b")

    assert dev.settings.mode is Mode.DEV
    assert cloud.settings.mode is Mode.CLOUD
    assert cloud.event_key is None
    assert dev.thread_pool is not cloud.thread_pool
    dev.close()
    cloud.close()


def serving(environ: dict[str, str], **options: Any) -> Any:
    none: dict[str, Any] = dict.fromkeys(
        ("serve_origin", "serve_path", "public_path", "enable_unauthed_sync", "streaming")
    )
    return resolve_serving(**{**none, **options}, environ=environ)


def test_paths_come_from_argument_or_variable() -> None:
    assert serving({"INNGEST_SERVE_PATH": "env"}).path == "/env"
    assert serving({"INNGEST_SERVE_PATH": "env"}, serve_path="/served").path == "/served"
    assert serving({}, public_path="public/x").public_path == "/public/x"
    assert (serving({}).path, serving({}).public_path) == (None, None)


def test_the_origin_comes_from_argument_or_variable() -> None:
    assert serving({"INNGEST_SERVE_ORIGIN": "https://e.org/"}).origin == "https://e.org"
    assert serving({"INNGEST_SERVE_HOST": "https://h.org"}).origin == "https://h.org"
    assert (
        serving({"INNGEST_SERVE_ORIGIN": "https://e.org"}, serve_origin="http://a:1").origin == "http://a:1"
    )


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("force", Streaming.FORCE),
        ("allow", Streaming.FORCE),
        ("false", Streaming.DISABLE),
        ("", Streaming.DISABLE),
    ],
)
def test_streaming_comes_from_its_variable(value: str, wanted: Streaming) -> None:
    assert serving({"INNGEST_STREAMING": value}).streaming is wanted
    assert serving({"INNGEST_STREAMING": value}, streaming=Streaming.FORCE).streaming is Streaming.FORCE


@pytest.mark.parametrize(
    "environ",
    [
        {"INNGEST_STREAMING": "sometimes"},
        {"INNGEST_ALLOW_IN_BAND_SYNC": "x"},
        {"INNGEST_ENABLE_UNAUTHED_SYNC": "2"},
        {"INNGEST_SERVE_ORIGIN": "example.org"},
    ],
)
def test_a_variable_with_another_value_is_refused_by_name(environ: dict[str, str]) -> None:
    (name,) = environ

    with pytest.raises(ConfigError, match=name):
        serving(environ)


@pytest.mark.parametrize("value", ["0", "-1", "many", "9" * 10])
def test_the_number_of_threads_is_a_positive_integer(value: str) -> None:
    assert thread_pool_workers({}) is None
    assert thread_pool_workers({"INNGEST_THREAD_POOL_MAX_WORKERS": "3"}) == 3

    with pytest.raises(ConfigError, match="INNGEST_THREAD_POOL_MAX_WORKERS"):
        thread_pool_workers({"INNGEST_THREAD_POOL_MAX_WORKERS": value})


def test_a_logger_that_cannot_log_is_refused() -> None:
    client = Inngest(app_id="app")

    with pytest.raises(ConfigError, match=r"logging.Logger.*not 'shop'"):
        client.set_logger("shop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"logging.Logger.*not 'shop'"):
        Inngest(app_id="app", logger="shop")  # type: ignore[arg-type]


def test_what_makes_no_middleware_is_refused() -> None:
    client = Inngest(app_id="app", is_production=False)

    with pytest.raises(ConfigError, match=r"list of classes.*'Audit' is neither"):
        Inngest(app_id="app", middleware=["Audit"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=r"list of classes.*'Audit' is neither"):
        client.add_middleware("Audit")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"list of classes.*'Audit' is neither"):
        client.create_function(fn_id="fn", event="a", middleware=["Audit"])(lambda ctx: None)  # type: ignore[list-item]


@pytest.mark.parametrize("wrong", ["x", PydanticSerializer, object()])
def test_a_serializer_is_an_object_that_can_do_both(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"an object with `serialize` and `deserialize`"):
        Inngest(app_id="a", is_production=False, serializer=wrong)
