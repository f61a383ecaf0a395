"""Two apps with different SDKs on one server: they share events and may invoke each other's functions."""

from collections.abc import Iterator

import pytest

from tests.interop.harness import PYTHON, TYPESCRIPT, Sdk, World, world

# One server and two apps for the module, so all of it belongs to one worker.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-two-apps")]

PAIRS = [pytest.param(PYTHON, TYPESCRIPT, id="py-ts"), pytest.param(TYPESCRIPT, PYTHON, id="ts-py")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both apps on one server."""
    with world(tmp_path_factory.mktemp("two-apps"), PYTHON, TYPESCRIPT) as made:
        yield made


def invoke(world: World, parent: Sdk, **data: object) -> dict[str, object]:
    """The ended run of the parent's `invoke-other-app`; the other app has such a function too."""
    runs = world.api.wait_runs(world.api.send("interop/invoke-other-app", data), count=2)
    (found,) = [run for run in runs if world.slug_of(run).startswith(f"{parent.app_id}-")]
    return found


@pytest.mark.parametrize(("parent", "child"), PAIRS)
def test_a_function_of_the_other_app_is_invoked(served: World, parent: Sdk, child: Sdk) -> None:
    run = invoke(served, parent, app=child.app_id, function="child", n=21)

    assert (run["status"], run["output"]) == ("Completed", {"child": {"doubled": 42}})
    executed = [line for line in served.apps[child.app_id].lines() if line.get("step") == "double"]
    assert executed
    assert all(line["run_id"] != run["run_id"] for line in executed)


@pytest.mark.parametrize(("parent", "child"), PAIRS)
def test_an_error_of_the_other_app_reaches_the_parent(served: World, parent: Sdk, child: Sdk) -> None:
    """Neither parent catches it: its run fails with the error of the child, in the words of its language."""
    run = invoke(served, parent, app=child.app_id, function="child-fails")

    assert run["status"] == "Failed"
    output = run["output"]
    assert isinstance(output, dict)
    assert output["message"] == "the child failed"
    assert output["name"] == child.error_name


def test_one_event_starts_a_function_of_each_app(served: World) -> None:
    runs = served.api.wait_runs(served.api.send("interop/noop"), count=2)

    assert sorted(served.slug_of(run) for run in runs) == ["interop-py-noop", "interop-ts-noop"]
    assert [run["status"] for run in runs] == ["Completed", "Completed"]
