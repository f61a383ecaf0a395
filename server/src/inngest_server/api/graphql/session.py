"""One request while it is answered: the way back to the event loop, what was read, what may be spent.

Resolvers run on a thread of the lane. Whatever the event loop owns, storage, engine and catalogue, they reach
through `Session.wait` alone.
"""

import asyncio
import re
from collections.abc import Coroutine
from functools import cached_property
from typing import Any, TypeVar

from inngest_server.api.context import Context
from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.replies import RequestRejectedError
from inngest_server.apps.records import AppRow
from inngest_server.engine.functions import Function
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.runs.finish import FAILED
from inngest_server.storage.protocol import Storage, StorageError

T = TypeVar("T")

_OF_FUNCTION = re.compile(r"\s*event\.data\.function_id\s*==\s*(['\"])(.*)\1\s*")

LOOP_TIMEOUT_S = 15.0
"""For one read or one fact. What takes longer is answered as unavailable, and may still be done."""
RESOLVED_FIELDS_MAX = 100_000
"""About two seconds of the lane: a page of 400 runs with everything that lists show has a tenth of them."""
ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""Of payloads in an answer."""


class TooExpensiveError(BaseException):
    """The answer would be larger than one may be.

    Not an `Exception`: the library takes those for the failure of one field and goes on with the next.
    """


class Catalogue:
    """Apps and functions as they were at one moment, archived ones too."""

    def __init__(self, apps: dict[str, AppRow], functions: list[Function]) -> None:
        self.apps = apps
        self.functions = {function.id: function for function in functions}
        self._of_app: dict[str, list[Function]] = {}
        self._by_slug: dict[str, Function] = {}
        # Of several with one slug the one in use counts, as in `Functions.find`.
        for function in sorted(functions, key=lambda one: (one.is_active, one.row.slug)):
            self._of_app.setdefault(function.row.app_id, []).append(function)
            self._by_slug[function.row.slug] = function

    def active_apps(self) -> list[AppRow]:
        """By name."""
        return sorted(
            (app for app in self.apps.values() if app.archived_at_ms is None), key=lambda app: app.name
        )

    def of_app(self, app_id: str) -> list[Function]:
        """All functions of an app, archived ones too."""
        return self._of_app.get(app_id, [])

    def active_functions(self, app_id: str | None = None) -> list[Function]:
        """By slug; of one app or of all."""
        known = self.functions.values() if app_id is None else self.of_app(app_id)
        return sorted((one for one in known if one.is_active), key=lambda one: one.row.slug)

    @cached_property
    def failure_handlers(self) -> dict[tuple[str, str], Function]:
        """What SDKs register beside a function for its failures, by app and slug of that function."""
        found: dict[tuple[str, str], Function] = {}
        for function in self.active_functions():
            for trigger in function.config.event_triggers:
                condition = _OF_FUNCTION.fullmatch(trigger.expression or "")
                if trigger.event == FAILED and condition is not None:
                    found[function.row.app_id, condition[2]] = function
        return found

    def find(self, slug_or_id: str) -> Function | None:
        return self._by_slug.get(slug_or_id) or self.functions.get(slug_or_id)


class Session:
    """What the resolvers of one request share."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop, now_ms: int) -> None:
        self.context = context
        self.now_ms = now_ms
        """Domain time at which the request came."""
        self._loop = loop
        self._fields_left = RESOLVED_FIELDS_MAX
        self._bytes_left = ANSWER_BYTES_MAX
        self.shown: dict[tuple[str, str], dict[str, Any]] = {}
        """Apps and functions that were shown already, by kind and id: every run of a page has one of few."""

    @property
    def storage(self) -> Storage:
        return self.context.storage

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that the event loop runs.

        Raises:
            QueryError: with the code of what it raised, or `unavailable` after `LOOP_TIMEOUT_S`.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(LOOP_TIMEOUT_S)
        except TimeoutError as error:
            future.cancel()
            message = f"the server did not answer within {LOOP_TIMEOUT_S:.0f} s"
            raise QueryError(message, code="unavailable") from error
        except EngineUnavailableError as error:
            raise QueryError(str(error), code=error.code) from error
        except StorageError as error:
            raise QueryError("the storage cannot be read now", code=error.code) from error
        except RequestRejectedError as error:
            raise QueryError(str(error), code=error.code) from error

    def ask(self, fact: Any) -> Any:
        """The engine's answer to a fact, once that is durable."""

        async def asked() -> Any:
            return await self.context.engine.ask(fact)

        return self.wait(asked())

    @cached_property
    def catalogue(self) -> Catalogue:
        async def copied() -> Catalogue:
            functions = self.context.engine.functions
            return Catalogue(dict(functions.apps), functions.all())

        return self.wait(copied())

    def function(self, function_id: str) -> Function:
        """The function of a run."""
        if function_id not in self.catalogue.functions:
            self.forget_catalogue()  # It was registered after the catalogue was read, and before the run was.
        return self.catalogue.functions[function_id]

    def forget_catalogue(self) -> None:
        """After a change of it: what is shown next is read again."""
        self.__dict__.pop("catalogue", None)
        self.shown.clear()

    def spend_field(self) -> None:
        """Count a resolved field.

        Raises:
            TooExpensiveError: there were too many.
        """
        self._fields_left -= 1
        if self._fields_left < 0:
            raise TooExpensiveError(f"the answer has more than {RESOLVED_FIELDS_MAX} fields")

    def spend_bytes(self, payload: bytes | None) -> bytes | None:
        """A payload that becomes part of the answer.

        Raises:
            TooExpensiveError: the answer is too large with it.
        """
        if payload is not None:
            self._bytes_left -= len(payload)
            if self._bytes_left < 0:
                raise TooExpensiveError(f"the answer has more than {ANSWER_BYTES_MAX} bytes of payloads")
        return payload
