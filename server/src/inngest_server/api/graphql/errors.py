"""Errors of a query, as `errors[]` of its answer shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from graphql import GraphQLError

log = structlog.get_logger("inngest.graphql")


class QueryError(Exception):
    """A field cannot be answered, or a mutation cannot be done; `code` becomes `extensions.code`."""

    def __init__(self, message: str, *, code: str, **extensions: Any) -> None:
        super().__init__(message)
        self.code = code
        self.extensions = extensions
        """More that is shown beside the code."""


class DocumentRefusedError(Exception):
    """A document, its operation or its variables cannot be executed."""

    def __init__(self, code: str, errors: Sequence[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.code = code
        self.errors = tuple(errors)


def refused(message: str, *, code: str) -> DocumentRefusedError:
    return DocumentRefusedError(code, [GraphQLError(message)])


def show_refusal(refusal: DocumentRefusedError) -> list[dict[str, Any]]:
    return [_shown(error, refusal.code) for error in refusal.errors]


def show_errors(errors: Sequence[GraphQLError]) -> list[dict[str, Any]]:
    """Errors of an execution. What is our own mistake is logged, and not shown."""
    return [_show_error(error) for error in errors]


def plain_errors(message: str, code: str) -> dict[str, Any]:
    """An answer that has nothing but one error."""
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def _show_error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        # The library's own, and those of scalars: variables and arguments that do not fit.
        return _shown(error, "variables_invalid")
    if isinstance(cause, QueryError):
        return _shown(error, cause.code, cause.extensions)
    log.error("graphql.field_failed", path=error.path, exc_info=cause)
    shown = _shown(error, "internal")
    shown["message"] = "internal error"
    return shown


def _shown(error: GraphQLError, code: str, extensions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {**error.formatted, "extensions": {"code": code, **(extensions or {})}}
