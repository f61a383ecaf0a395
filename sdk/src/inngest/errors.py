"""Every error of the SDK.

    Error
    |-- ConfigError                     a value that can never work (also a ValueError)
    |   |-- FunctionConfigInvalidError  an option of create_function
    |   |-- EventInvalidError           an event that cannot be sent
    |   `-- URLInvalidError             an address in an option or a variable
    |-- KeyMissingError
    |   |-- EventKeyUnspecifiedError
    |   `-- SigningKeyMissingError
    |-- SendEventsError                 the server did not take the events
    |-- ApiError                        the server could not be reached, or refused
    |   `-- RegistrationFailedError
    |-- RequestRejectedError            the handler refuses what it was sent
    |   |-- CallRequestError            a body that is no call request
    |   |-- SignatureError              unsigned, wrongly signed or too old
    |   |-- ServerKindMismatchError     a dev server and an app in production mode, or the reverse
    |   |-- QueryParamMissingError
    |   `-- FunctionNotFoundError
    |-- NonRetriableError               raise it to end the run at once
    |-- RetryAfterError                 raise it to choose the time of the next try
    |-- StepError                       a step failed for good; `try` around the step catches it
    |   `-- NonRetriableStepError       ... because of a NonRetriableError (and is one)
    |-- StepUsageError                  steps used in a way that cannot be carried out
    |   |-- NestedStepError
    |   |-- StepUnexpectedError
    |   `-- AsyncUnsupportedError
    `-- OutputUnserializableError       a result that has no JSON form

`code` is stable and goes to the server; messages may change.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

__all__ = [
    "ApiError",
    "AsyncUnsupportedError",
    "BodyInvalidError",
    "CallRequestError",
    "ConfigError",
    "Error",
    "EventInvalidError",
    "EventKeyUnspecifiedError",
    "FunctionConfigInvalidError",
    "FunctionNotFoundError",
    "KeyMissingError",
    "NestedStepError",
    "NonRetriableError",
    "NonRetriableStepError",
    "OutputUnserializableError",
    "QueryParamMissingError",
    "RegistrationFailedError",
    "RequestRejectedError",
    "RetryAfterError",
    "SendEventsError",
    "ServerKindMismatchError",
    "SignatureError",
    "SigningKeyMissingError",
    "StepError",
    "StepUnexpectedError",
    "StepUsageError",
    "URLInvalidError",
]


class Error(Exception):
    """Any error of this package."""

    code: ClassVar[str] = "unknown"
    include_stack: ClassVar[bool] = True
    """Whether the traceback is sent to the server; not where it shows only the SDK's own lines."""
    is_retriable: bool = True
    """Whether the server shall try again when this error ends an attempt."""
    quiet: bool = False
    """Whether the SDK leaves this error out of its own log."""

    @property
    def message(self) -> str:
        return str(self)

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def stack(self) -> str | None:
        """The traceback so far, as text."""
        import traceback

        return "".join(traceback.format_exception(self))


class ConfigError(Error, ValueError):
    """An option or a variable has a value that can never work."""

    code = "config_invalid"
    include_stack = False
    is_retriable = False


class FunctionConfigInvalidError(ConfigError):
    """An option of `create_function` that the server would reject."""

    code = "function_config_invalid"


class EventInvalidError(ConfigError):
    """An event that no server would take."""

    code = "event_invalid"


class URLInvalidError(ConfigError):
    """An address that is none, in an option or a variable."""

    code = "url_invalid"


class KeyMissingError(Error):
    """Production mode needs a key that was not given."""

    code = "key_missing"
    include_stack = False
    is_retriable = False


class EventKeyUnspecifiedError(KeyMissingError):
    """Events are to be sent in production mode, but there is no event key."""

    code = "event_key_unspecified"


class SigningKeyMissingError(KeyMissingError):
    """An app is served in production mode, but there is no signing key."""

    code = "signing_key_unspecified"


class SendEventsError(Error):
    """The server did not take the events.

    `ids` holds the ids of those it did take before it stopped; sending all again starts these twice unless
    they carry an `id` of their own.
    """

    code = "send_event_failed"

    def __init__(self, message: str, ids: list[str] | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.ids = ids if ids is not None else []
        self.status = status
        """HTTP status of the last answer; `None` when there was no answer."""


class ApiError(Error):
    """A call to the server failed: `status` is its HTTP status, or `None` when it could not be reached."""

    code = "api_failed"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RegistrationFailedError(ApiError):
    """The server refused to register the app."""

    code = "registration_failed"
    include_stack = False


class RequestRejectedError(Error):
    """The handler refuses a request; `status` is the HTTP status of the answer."""

    code = "request_rejected"
    include_stack = False
    status: ClassVar[int] = 400


class CallRequestError(RequestRejectedError):
    """The body of a request is no call request (protocol 3.2)."""

    code = "body_invalid"


BodyInvalidError = CallRequestError
"""The name of this error in the official SDK."""


class SignatureError(RequestRejectedError):
    """A request without signature, with a wrong one, or signed too long ago (protocol 6.2)."""

    code = "sig_verification_failed"
    is_retriable = False
    status = 401


class ServerKindMismatchError(RequestRejectedError):
    """A dev server talks to an app in production mode, or the reverse (protocol 6.6)."""

    code = "server_kind_mismatch"
    is_retriable = False


class QueryParamMissingError(RequestRejectedError):
    """A call request without `fnId` or `stepId`."""

    code = "query_param_missing"


class FunctionNotFoundError(RequestRejectedError):
    """The server calls a function that this app does not serve; the message names those that it does."""

    code = "function_not_found"
    status = 500


class NonRetriableError(Error):
    """Raise it, in a step or in the function, when a further try cannot succeed.

    `quiet` leaves it out of the SDK's log; `cause` is kept as `__cause__`.
    """

    code = "non_retriable_error"
    is_retriable = False

    def __init__(
        self, message: str | None = None, quiet: bool = False, *, cause: BaseException | None = None
    ) -> None:
        super().__init__(*(() if message is None else (message,)))
        self.quiet = quiet
        if cause is not None:
            self.__cause__ = cause


class RetryAfterError(Error):
    """Raise it, in a step or in the function, to choose when the next try happens.

    `retry_after` is a time to wait (milliseconds, `timedelta`, or text such as "5m") or the moment of the
    try; a naive `datetime` is local time. The server keeps it between one second and 24 hours from now
    (protocol 4.3).
    """

    code = "retry_after_error"

    def __init__(
        self,
        message: str | None,
        retry_after: int | str | timedelta | datetime,
        quiet: bool = False,
    ) -> None:
        super().__init__(*(() if message is None else (message,)))
        self.quiet = quiet
        if isinstance(retry_after, datetime):
            self.delay = None
            self.retry_after = retry_after.astimezone(UTC)
        else:
            from ._wire.durations import to_timedelta

            self.delay: timedelta | None = to_timedelta(retry_after, what="retry_after")
            """What was given as a time to wait; `None` when a moment was given."""
            self.retry_after: datetime = datetime.now(UTC) + self.delay
            """The moment of the next try, in UTC."""

    def header(self) -> str:
        """Value of the `retry-after` header: whole seconds where a delay was given, else an instant.

        Seconds are read as such up to seven characters (protocol 4.3), and a server whose clock is not ours
        (a test's virtual one) waits exactly that long.
        """
        if self.delay is None:
            return self.retry_after.isoformat()
        return str(min(max(-(-self.delay // timedelta(seconds=1)), 0), 9_999_999))


class StepError(Error):
    """A step failed and will not be tried again; `try` around the step may go on without it.

    `message`, `name` and `stack` are those of the error that the step raised, on whatever machine that was.
    """

    code = "step_errored"
    is_retriable = False

    def __init__(self, message: str, name: str, stack: str | None) -> None:
        Exception.__init__(self, message)
        self._name = name
        self._stack = stack

    @property
    def message(self) -> str:
        return str(self)

    @property
    def name(self) -> str:
        """Class name of the original error."""
        return self._name

    @property
    def stack(self) -> str | None:
        return self._stack

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self._name, self._stack))


class NonRetriableStepError(StepError, NonRetriableError):
    """A step ended with a `NonRetriableError`; caught by handlers of either."""

    code = "non_retriable_error"


class StepUsageError(Error):
    """Steps are used in a way that cannot be carried out."""

    code = "step_usage"
    is_retriable = False


class NestedStepError(StepUsageError):
    """A step was started inside another step's function."""

    code = "step_nested"


class StepUnexpectedError(StepUsageError):
    """The server asked for one step, and the function reached another new one instead.

    The code has most likely changed since the step was planned; retried, because an older version of the app
    may still answer.
    """

    code = "step_unexpected"
    is_retriable = True


class AsyncUnsupportedError(StepUsageError):
    """Asynchronous code where only synchronous code can run, or the reverse."""

    code = "async_unsupported"


class OutputUnserializableError(Error):
    """A step or a function returned something that has no JSON form."""

    code = "output_unserializable"
    is_retriable = False
