"""What the log says of registrations that are refused."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_body, make_function


async def refuse(server: InProcess, body: object) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        assert (await server.post("/fn/register", body)).status == 400
    return [dict(line) for line in lines if line["event"] == "sync.refused"]


async def test_a_refusal_is_said_once_for_each_app(server: InProcess) -> None:
    bad = make_function(triggers=[{"cron": "nonsense"}])
    shop = make_body(bad, appName="shop", url="http://localhost:3000/api/inngest")
    mail = make_body(bad, appName="mail", url="http://localhost:3001/api/inngest")

    first = await refuse(server, shop)
    assert {(line["app"], line["url"]) for line in first} == {("shop", "http://localhost:3000/api/inngest")}
    assert await refuse(server, shop) == []
    assert {line["app"] for line in await refuse(server, mail)} == {"mail"}


@pytest.mark.parametrize("body", [[], {}, {"appname": "a\nb", "url": {}}, {"appName": "x" * 5000}])
async def test_names_in_a_refusal_stay_on_one_short_line(server: InProcess, body: object) -> None:
    lines = await refuse(server, body)

    assert lines
    for line in lines:
        assert len(line["app"]) < 100
        assert "\n" not in f"{line['app']}{line['url']}"
