"""The command `lint`: files, settings and exit status."""

import json
from pathlib import Path

import pytest

from inngest_server.cli.main import main

BAD = """\
import time

@client.create_function(fn_id="fulfil", trigger=None)
async def fulfil(ctx):
    await ctx.step.run("a", print)
    return time.time()
"""
GOOD = BAD.replace("time.time()", "None")


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def places(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Path and code of what is found."""
    main(["lint", "--format", "json", *words])
    found = json.loads(capsys.readouterr().out)["findings"]
    return [f"{one['path']} {one['code']}" for one in found]


def test_the_exit_status_says_whether_something_was_found(project: Path) -> None:
    write(project, {"good.py": GOOD, "bad.py": BAD})
    assert main(["lint", "good.py"]) == 0
    assert main(["lint", "bad.py"]) == 1
    assert main(["lint"]) == 1
    assert main(["lint", "missing.py"]) == 2


def test_folders_are_searched_without_environments_and_copies(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["app/a.py", "app/sub/b.py", ".hidden/c.py", "node_modules/d.py", "build/e.py", "mine/lib/f.py"]
    write(project, {**dict.fromkeys(names, BAD), "mine/pyvenv.cfg": "", "app/notes.txt": BAD})
    assert places(capsys) == ["app/a.py ING001", "app/sub/b.py ING001"]
    assert places(capsys, "app", "app/a.py", "./app/sub") == ["app/a.py ING001", "app/sub/b.py ING001"]
    assert places(capsys, ".hidden/c.py") == [".hidden/c.py ING001"]


def test_paths_stay_as_they_were_given(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, {"app/a.py": BAD})
    assert places(capsys, str(project / "app")) == [f"{(project / 'app/a.py').as_posix()} ING001"]


def test_settings_come_from_the_nearest_pyproject_and_flags_win(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = '[tool.inngest.lint]\nignore = ["ING001"]\nexclude = ["old", "*_pb2.py", "app/skip.py"]\n'
    files = dict.fromkeys(["app/a.py", "old/b.py", "app/c_pb2.py", "app/skip.py", "app/old/d.py"], BAD)
    write(project, {**files, "pyproject.toml": settings, "app/pyproject.toml": "[project]\n"})
    monkeypatch.chdir(project / "app")
    assert places(capsys) == []
    assert places(capsys, "--ignore", "ING002") == ["a.py ING001"]
    assert places(capsys, "--ignore", "ING002", "--exclude", "a.py") == []
    assert places(capsys, "--ignore", "ING002", "skip.py") == ["skip.py ING001"]


def test_rules_are_chosen_by_flag_and_variable(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"a.py": BAD.replace("time.time()", "time.time(), open('a')")})
    assert places(capsys, "--select", "ING003") == ["a.py ING003"]
    assert places(capsys, "--select", "ING00", "--ignore", "io-outside-step") == ["a.py ING001"]
    monkeypatch.setenv("INNGEST_SELECT", "ING001")
    assert places(capsys) == ["a.py ING001"]


@pytest.mark.parametrize(
    ("words", "pyproject", "said"),
    [
        (["nowhere"], "", "there is no file or folder nowhere"),
        (["--select", "E501"], "", "--select: there is no rule 'E501'; there are ING000 to ING020"),
        (["--format", "xml"], "", "--format: 'xml' is not one of text, json, github"),
        (["--explain", "nothing"], "", "--explain: there is no rule 'nothing'"),
        (
            [],
            "[tool.inngest.lint]\nselected = []",
            "tool.inngest.lint has no setting 'selected'; there are select",
        ),
        ([], '[tool.inngest.lint]\nselect = "ING001"', "tool.inngest.lint.select takes a list of texts"),
        ([], "[tool.inngest]\nlint = 5", "tool.inngest.lint is no table"),
        ([], "[tool.inngest.lint]\nselect = ['E501']", "tool.inngest.lint: there is no rule 'E501'"),
        ([], "[tool", "pyproject.toml cannot be read"),
    ],
)
def test_mistakes_are_answered_with_what_to_try(
    project: Path, words: list[str], pyproject: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if pyproject:
        write(project, {"pyproject.toml": pyproject})
    assert main(["lint", *words]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_a_rule_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--explain", "step-id-in-loop"]) == 0
    assert capsys.readouterr().out.startswith("ING010 step-id-in-loop\n")


@pytest.mark.parametrize(
    "content",
    [
        "# -*- coding: latin-1 -*-\nname = 'ü'\n".encode("latin-1"),
        "\ufeffname = 'ü'\r\n".encode(),
        b"# -*- coding: none-such -*-\nname = 1\n",
    ],
)
def test_files_in_other_encodings_are_read(
    project: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "a.py").write_bytes(content + BAD.encode("ascii"))
    assert places(capsys) == ["a.py ING001"]


def test_a_file_that_cannot_be_read_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, {"a.py": "def a(:\n", "b.py": BAD})
    assert places(capsys) == ["a.py ING000", "b.py ING001"]
