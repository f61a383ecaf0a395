"""From the body of a request to the body of its answer, on a thread of the lane."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import graphql
from graphql import ExecutionResult, GraphQLResolveInfo

from inngest_server.api.graphql import catalogue, events, legacy, mutations, runs, spans, workers
from inngest_server.api.graphql.documents import operation_of, prepare
from inngest_server.api.graphql.errors import DocumentRefusedError, plain_errors, show_errors, show_refusal
from inngest_server.api.graphql.schema import the_schema, write_answer
from inngest_server.api.graphql.session import Session, TooExpensiveError
from inngest_server.wire import json

ROOTS: dict[str, Callable[..., Any]] = {
    "apps": catalogue.list_apps,
    "app": catalogue.find_app,
    "functions": catalogue.list_functions,
    "functionBySlug": catalogue.find_function,
    "runs": runs.list_runs,
    "run": runs.find_run,
    "runTrigger": runs.show_trigger,
    "runTrace": spans.show_trace_of,
    "runTraceSpanOutputByID": spans.show_output,
    "functionRun": legacy.find_function_run,
    "event": legacy.find_event,
    "events": legacy.list_events,
    "eventV2": events.get_event,
    "eventsV2": events.list_events,
    "stream": legacy.list_stream,
    "workerConnections": workers.list_connections,
    "workerConnection": workers.find_connection,
    "createApp": mutations.create_app,
    "updateApp": mutations.update_app,
    "deleteApp": mutations.delete_app,
    "deleteAppByName": mutations.delete_app_by_name,
    "invokeFunction": mutations.invoke_function,
    "cancelRun": mutations.cancel_run,
    "rerun": mutations.rerun,
}


# Its type has gaps.
_execute_sync: Callable[..., ExecutionResult] = cast("Any", graphql).execute


class Answer(NamedTuple):
    status: int
    body: bytes


class _Query(NamedTuple):
    document: str
    operation: str | None
    variables: dict[str, Any]


def answer(session: Session, body: bytes) -> Answer:
    """400 for what is no request; all else is 200, with `errors` for what went wrong."""
    try:
        query = _read(body)
    except _InvalidRequestError as error:
        return Answer(400, json.dumps(plain_errors(str(error), error.code)))
    return Answer(200, write_answer(_execute(session, query)))


class _InvalidRequestError(Exception):
    """The body is no GraphQL request."""

    code = "invalid_query"


def _read(body: bytes) -> _Query:
    try:
        value: object = json.parse(body)
    except json.InvalidJSONError as error:
        raise _InvalidRequestError(str(error)) from error
    if not isinstance(value, dict):
        raise _InvalidRequestError('the body must be an object such as {"query":"{ apps { name } }"}')
    fields = cast("dict[str, Any]", value)
    document, name, variables = fields.get("query"), fields.get("operationName"), fields.get("variables")
    if not isinstance(document, str) or not document.strip():
        raise _InvalidRequestError("`query` must be a text, and not an empty one")
    if not isinstance(name, str | None):
        raise _InvalidRequestError("`operationName` must be a text")
    if not isinstance(variables, dict | None):
        raise _InvalidRequestError("`variables` must be an object")
    return _Query(document, name, cast("dict[str, Any]", variables or {}))


def _execute(session: Session, query: _Query) -> dict[str, Any]:
    try:
        document = prepare(query.document)
        operation_of(document, query.operation)
        result = _execute_sync(
            the_schema(),
            document,
            {name: partial(root, session) for name, root in ROOTS.items()},
            session,
            # Those that the operation does not declare are ignored: the reference interface sends some.
            query.variables,
            query.operation or None,
            field_resolver=_resolve,
            is_awaitable=_never,
        )
    except DocumentRefusedError as refusal:
        return {"errors": show_refusal(refusal)}
    except TooExpensiveError as error:
        return plain_errors(f"{error}; ask for less at a time", "query_too_large")
    return _show(result)


def _show(result: ExecutionResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"data": result.data}
    if result.errors:
        shown["errors"] = show_errors(result.errors)
    return shown


def _resolve(source: dict[str, Any], info: GraphQLResolveInfo[Session], **arguments: Any) -> Any:
    """A field of a shape. What is costly stands there as a function, which is called when it is asked for."""
    info.context.spend_field()
    value = source.get(info.field_name)
    return value(**arguments) if callable(value) else value


def _never(_: object) -> bool:
    """Nothing that a resolver returns is awaited."""
    return False
