"""A package's public names are those in its `__all__`, and its version is the installed one."""

import importlib
import importlib.metadata
import importlib.resources
import types

import pytest

PACKAGES = {"inngest": "inngest", "inngest_server": "inngest-server"}


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> types.ModuleType:
    return importlib.import_module(request.param)


def test_every_exported_name_exists_and_is_named_once(package: types.ModuleType) -> None:
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert len(set(package.__all__)) == len(package.__all__)


def test_every_public_name_is_exported(package: types.ModuleType) -> None:
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - set(package.__all__) == set()


def test_the_version_is_the_installed_one(package: types.ModuleType) -> None:
    assert package.__version__ == importlib.metadata.version(PACKAGES[package.__name__])


def test_the_package_is_marked_as_typed(package: types.ModuleType) -> None:
    assert importlib.resources.files(package).joinpath("py.typed").is_file()
