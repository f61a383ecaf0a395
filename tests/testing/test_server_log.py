"""What the server logs stays in its world, whatever the program does with `structlog`."""

import pytest
import structlog

from inngest_server.testing import World


def test_a_configuration_made_between_two_worlds_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with World():
        """The first one begins to listen."""
    structlog.reset_defaults()

    with World() as world:
        world.until_idle()

        assert "clock.moved" in [line["event"] for line in world.server_log]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
