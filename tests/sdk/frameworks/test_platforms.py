"""AWS Lambda and DigitalOcean Functions: the shapes of their events that the contract does not send."""

import json
from types import SimpleNamespace
from typing import Any

import inngest.aws_lambda
import inngest.digital_ocean
from inngest.experimental.digital_ocean_simulator import FULL_PATH, DigitalOceanSimulator
from tests.sdk.frameworks.adapters import lambda_v1, lambda_v2
from tests.sdk.frameworks.calls import call, sync_functions
from tests.sdk.frameworks.exchange import Message
from tests.sdk.frameworks.server import FakeServer

PUT = Message("PUT", "/api/inngest?deployId=d1", {}, b"{}")


def lambda_of(server: FakeServer) -> Any:
    client = server.client()
    return inngest.aws_lambda.serve(client, sync_functions(client))


def digital_ocean_of(server: FakeServer) -> Any:
    client = server.client()
    return inngest.digital_ocean.serve(client, sync_functions(client))


def url(server: FakeServer) -> str:
    return server.registrations[-1].body["url"]


async def test_the_stage_of_a_rest_api_is_part_of_the_address(server: FakeServer) -> None:
    event = lambda_v1(PUT)
    event["requestContext"]["path"] = "/prod/api/inngest"

    assert lambda_of(server)(event, None)["statusCode"] == 200
    assert url(server) == "http://app.test/prod/api/inngest"


async def test_without_headers_the_domain_of_the_gateway_counts(server: FakeServer) -> None:
    event = {**lambda_v2(PUT), "headers": {}}

    assert lambda_of(server)(event, None)["statusCode"] == 200
    assert url(server) == "https://app.test/api/inngest"


async def test_a_load_balancer_gets_headers_in_the_form_it_sends_them(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2})
    event = lambda_v1(message)
    event["requestContext"] = {"elb": {"targetGroupArn": "arn"}}
    event["multiValueQueryStringParameters"] = {"fnId": ["contract-add"], "stepId": ["step"]}
    one_each = {**event, "multiValueHeaders": None, "multiValueQueryStringParameters": None}
    one_each["queryStringParameters"] = {"fnId": "contract-add", "stepId": "step"}

    several, single = lambda_of(server)(event, None), lambda_of(server)(one_each, None)

    assert several["multiValueHeaders"]["x-inngest-framework"] == ["aws-lambda"]
    assert "headers" not in several
    assert single["headers"]["x-inngest-framework"] == "aws-lambda"
    assert several["statusCode"] == single["statusCode"] == 206


async def test_an_event_that_is_no_request_says_what_is_wrong(server: FakeServer) -> None:
    for event in ({}, {"Records": []}, {"requestContext": {"eventType": "CONNECT"}}):
        answer = lambda_of(server)(event, None)

        assert answer["statusCode"] == 400
        assert "API Gateway" in answer["body"]


async def test_a_digital_ocean_function_that_is_not_raw_says_what_to_set(server: FakeServer) -> None:
    context = SimpleNamespace(api_host="http://app.test", function_name="/fn-1/default/work")

    answer = digital_ocean_of(server)({"name": "value"}, context)

    assert answer["statusCode"] == 400
    assert "web: raw" in answer["body"]


async def test_the_simulator_calls_a_function_as_the_platform_does(server: FakeServer) -> None:
    browser = DigitalOceanSimulator(digital_ocean_of(server)).app.test_client()
    message = call("add", {"a": 1, "b": 2})

    synced = browser.put(FULL_PATH, data=b"{}")
    stepped = browser.post(f"{FULL_PATH}?{message.query}", data=message.body)
    short = browser.get("/")

    assert (synced.status_code, stepped.status_code, short.status_code) == (200, 206, 200)
    assert json.loads(stepped.data)[0]["data"] == 1
    assert url(server) == f"http://localhost{FULL_PATH}"


def test_the_simulator_takes_answers_that_are_no_text() -> None:
    browser = DigitalOceanSimulator(
        lambda event, context: {"statusCode": 201, "body": {"a": 1}}
    ).app.test_client()

    reply = browser.put(FULL_PATH)

    assert (reply.status_code, json.loads(reply.data)) == (201, {"a": 1})
