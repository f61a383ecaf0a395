"""`inngest.connect`: there to be imported, and to say what to do instead."""

import pytest

import inngest
from inngest.connect import ConnectionState, connect


def test_connect_says_that_workers_are_not_in_this_version() -> None:
    client = inngest.Inngest(app_id="shop", is_production=False)

    with pytest.raises(
        inngest.Error, match=r"'shop', but this version .* has no workers over WebSocket"
    ) as error:
        connect(apps=[(client, [])], instance_id="a", max_worker_concurrency=4)

    assert error.value.code == "connect_unavailable"
    assert "inngest.fast_api.serve" in str(error.value)


def test_the_states_of_a_connection_have_the_names_of_the_official_sdk() -> None:
    assert sorted(ConnectionState.__members__) == [
        *("ACTIVE", "CLOSED", "CLOSING", "CONNECTING", "PAUSED", "RECONNECTING"),
    ]
