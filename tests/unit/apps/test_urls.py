import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.apps.urls import InvalidAppURLError, call_url, normalize_app_url


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://localhost:3000/api/inngest", "http://localhost:3000/api/inngest"),
        ("http://127.0.0.1:3000/x", "http://localhost:3000/x"),
        ("http://0.0.0.0:3000/x", "http://localhost:3000/x"),
        ("ws://0.0.0.0:3000/x", "ws://localhost:3000/x"),
        ("http://127.0.0.1/x", "http://127.0.0.1/x"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1/x"),
        ("http://127.0.0.2:3000/x", "http://127.0.0.2:3000/x"),
        ("http://a:80/x", "http://a/x"),
        ("ws://a:80", "ws://a"),
        ("https://a:443/x", "https://a/x"),
        ("wss://a:443", "wss://a"),
        ("http://a:443/x", "http://a:443/x"),
        ("https://a:80/x", "https://a:80/x"),
        ("http://a:/x", "http://a/x"),
        ("http://a/x?deployId=1&fnId=f&probe=trust&stepId=step", "http://a/x?fnId=f&stepId=step"),
        ("http://a/x?deployId=1", "http://a/x"),
        ("http://a/x?deployid=1&q=a%20b+c&empty", "http://a/x?deployid=1&q=a%20b+c&empty"),
        ("http://a/x?deploy%49d=1", "http://a/x"),
        ("HTTP://App.Example/X", "http://app.example/X"),
        ("http://me:Secret@a:80/x", "http://me:Secret@a/x"),
        ("http://[::1]:3000/x", "http://[::1]:3000/x"),
        ("http://a/x#part", "http://a/x"),
        ("http://a", "http://a"),
        ("http://a/", "http://a/"),
    ],
)
def test_an_app_has_one_url(url: str, normal: str) -> None:
    assert normalize_app_url(url) == normal
    assert normalize_app_url(normal) == normal


BAD = [
    "",
    "a",
    "/api/inngest",
    "//a/x",
    "localhost:3000/x",
    "ftp://a/x",
    "http://",
    "http:///x",
    "http://:80/x",
    "http:a",
    "http://[::1/x",
    "http://a:99999/x",
    "http://a:port/x",
    "http://a/x y",
    " http://a/x",
    "http://a/x\n",
    "http://a\t/x",
    "http://a/\ud800",
    "http://a/" + "x" * 2048,
]


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_absolute_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidAppURLError, match="an example is http://localhost:3000/api/inngest"):
        normalize_app_url(url)
    with pytest.raises(InvalidAppURLError):
        call_url(url, "step")


def test_a_url_of_2048_characters_is_accepted() -> None:
    url = "http://a/".ljust(2048, "x")

    assert normalize_app_url(url) == url


@pytest.mark.parametrize(
    ("url", "step_id", "called"),
    [
        ("http://a/x?fnId=f&stepId=step", "step", "http://a/x?fnId=f&stepId=step"),
        ("http://a/x?fnId=f&stepId=step", "e7d8", "http://a/x?fnId=f&stepId=e7d8"),
        ("http://a/x?stepId=step&fnId=f", "e7d8", "http://a/x?stepId=e7d8&fnId=f"),
        ("http://a/x?fnId=f", "step", "http://a/x?fnId=f&stepId=step"),
        ("http://a/x", "step", "http://a/x?stepId=step"),
        ("http://a/x?", "step", "http://a/x?stepId=step"),
        ("http://a/x?stepId=1&q=a%20b+c&stepId=2", "3", "http://a/x?stepId=3&q=a%20b+c"),
        ("http://a/x?step=step&fnId=a%2Fb", "s", "http://a/x?step=step&fnId=a%2Fb&stepId=s"),
        ("http://a/x?fnId=f", "a b&c", "http://a/x?fnId=f&stepId=a%20b%26c"),
        ("wss://connect?fnId=f&stepId=step", "s", "wss://connect?fnId=f&stepId=s"),
        ("https://me:Pw@A.b:8443/X?fnId=f#frag", "s", "https://me:Pw@A.b:8443/X?fnId=f&stepId=s"),
    ],
)
def test_a_step_is_called_at_the_functions_url_with_its_id(url: str, step_id: str, called: str) -> None:
    assert call_url(url, step_id) == called


@given(st.text(max_size=40) | st.text(max_size=20).map(lambda rest: "http://" + rest))
def test_any_text_is_normalised_once_and_for_all_or_refused(text: str) -> None:
    try:
        normal = normalize_app_url(text)
    except InvalidAppURLError:
        return
    assert normalize_app_url(normal) == normal
    assert call_url(call_url(normal, "a"), "b") == call_url(normal, "b")
