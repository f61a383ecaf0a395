"""Reading configuration files: every form says the same, and what is wrong is said with its line."""

from pathlib import Path

import pytest

from inngest_server.cli.config_file import ConfigError, Entry, find_file, read_file

SAME = {
    "inngest.json": '{"urls": ["http://a/x", "http://b/x"],'
    '\n "no-poll": true, "port": 8300, "retention": "7d"}',
    "inngest.yaml": "urls:\n  - http://a/x\n  - 'http://b/x'\nno-poll: true\nport: 8300\nretention: 7d\n",
    "inngest.yml": "{urls: [http://a/x, http://b/x], no-poll: true, port: 8300, retention: '7d'}",
    "inngest.toml": 'urls = ["http://a/x", "http://b/x"]\nno-poll = true\nport = 8300\nretention = "7d"\n',
}


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def read(directory: Path, name: str, text: str) -> dict[str, str | list[str]]:
    return {entry.key: entry.value for entry in read_file(write(directory, name, text))}


@pytest.mark.parametrize("name", SAME)
def test_every_form_gives_the_same_entries(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, name, SAME[name]) == {
        "urls": ["http://a/x", "http://b/x"],
        "no-poll": "true",
        "port": "8300",
        "retention": "7d",
    }


def test_properties_have_lists_as_text_and_javas_escapes(tmp_path: Path) -> None:
    text = (
        "# a comment\n! another\n\nurls = http://a/x, \\\n       http://b/x\nport:8300\nretention 7d\n"
        "host=\\u0031.2.3.4\nevent-key=a\\=b\\\\\nempty=\n"
    )
    assert read(tmp_path, "inngest.properties", text) == {
        "urls": "http://a/x, http://b/x",
        "port": "8300",
        "retention": "7d",
        "host": "1.2.3.4",
        "event-key": "a=b\\",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "event-key: 0123\nsigning-key: 12_34\nhost: 1e400\n"),
        ("a.json", '{"event-key": "0123", "signing-key": "12_34", "host": 1e400}'),
        ("a.properties", "event-key=0123\nsigning-key=12_34\nhost=1e400\n"),
    ],
)
def test_values_stay_as_they_were_written(name: str, text: str, tmp_path: Path) -> None:
    assert read(tmp_path, name, text) == {"event-key": "0123", "signing-key": "12_34", "host": "1e400"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{\n "port": 1,\n "host": "x"\n}'),
        ("a.yaml", "# first\nport: 1\nhost: x\n"),
        ("a.toml", "# first\nport = 1\nhost = 'x'\n"),
        ("a.properties", "# first\nport=1\nhost=x\n"),
    ],
)
def test_entries_know_their_lines(name: str, text: str, tmp_path: Path) -> None:
    assert read_file(write(tmp_path, name, text)) == [Entry("port", "1", 2), Entry("host", "x", 3)]


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.toml", "a.properties"])
def test_a_file_without_keys_says_nothing(name: str, tmp_path: Path) -> None:
    assert read_file(write(tmp_path, name, "{}" if name == "a.json" else "\n")) == []


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"host": null}'), ("a.yaml", "host:\n")])
def test_keys_without_a_value_are_left_out(name: str, text: str, tmp_path: Path) -> None:
    assert read_file(write(tmp_path, name, text)) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"port": 1,\n}', "a.json line 2 is not JSON"),
        ("a.json", "[1]", "must hold a JSON object"),
        ("a.json", '{"a":\n {"b": 1}}', "a.json line 1: a must be a text"),
        ("a.json", '{"a": [["b"]]}', "a must be a text"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.yaml", "a: 1\nb: [\n", "a.yaml line 3 is not YAML"),
        ("a.yaml", "a: \x00", "is not YAML"),
        ("a.yaml", "- a\n", "must hold keys with values"),
        ("a.yaml", "x: 1\na:\n  b: 1\n", "a.yaml line 2: a must be a text"),
        ("a.yaml", "? [a]\n: 1\n", "line 1: a key must be a text"),
        ("a.toml", "a = \n", "is not TOML"),
        ("a.toml", "[server]\nport = 1\n", "server must be a text"),
        ("a.toml", "a = 2020-01-01\n", "a.toml line 1: a must be a text"),
        ("a.properties", "port\n", "a.properties line 1: expected `key = value`, found 'port'"),
        ("a.ini", "port=1", "ends in .json, .yaml, .yml, .toml, .properties"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_file(write(tmp_path, name, text))
    assert message in str(caught.value)


def test_bytes_that_are_no_text_and_files_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_file(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("#" * 1_100_000)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_file(tmp_path / "b.yaml")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    below = tmp_path / "one" / "two"
    below.mkdir(parents=True)
    write(tmp_path, "inngest.toml", "")
    assert find_file(below) == tmp_path / "inngest.toml"
    write(below.parent, "inngest.yml", "")
    assert find_file(below) == below.parent / "inngest.yml"


def test_two_files_in_one_directory_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "inngest.json", "{}")
    write(tmp_path, "inngest.yaml", "")
    with pytest.raises(ConfigError, match=r"has inngest\.json and inngest\.yaml; keep one"):
        find_file(tmp_path)
