"""An adapter whose framework is not installed says which extra to install."""

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIBRARIES = {
    "aiohttp": "aiohttp",
    "django": "django",
    "fast_api": "fastapi",
    "flask": "flask",
    "litestar": "litestar",
    "quart": "quart",
    "sanic": "sanic",
    "starlette": "starlette",
    "tornado": "tornado",
    "experimental.digital_ocean_simulator": "flask",
}


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_missing_framework_is_named_with_its_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = LIBRARIES[module]
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"inngest.{module}", raising=False)

    with pytest.raises(ImportError, match=rf'{library}.*pip install "\./sdk\[{library}\]"'):
        importlib.import_module(f"inngest.{module}")


def test_every_framework_has_an_extra() -> None:
    project = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(LIBRARIES.values()) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("module", ["asgi", "wsgi", "aws_lambda", "digital_ocean"])
def test_adapters_without_a_library_need_none(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"inngest.{module}", raising=False)

    assert importlib.import_module(f"inngest.{module}").serve
