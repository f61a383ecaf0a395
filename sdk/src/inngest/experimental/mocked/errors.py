"""What can be wrong with a test."""

from inngest.errors import ConfigError, Error

__all__ = ["RunAbortedError", "RunFailedError", "StubInvalidError", "UnstubbedStepError"]


class UnstubbedStepError(Error):
    """The function came to a step that only a server can do, and the test has no stub for it."""

    code = "step_unstubbed"
    is_retriable = False

    def __init__(self, step_id: str, what: str = "step", example: str = "...") -> None:
        super().__init__(
            f"step {step_id!r} is not stubbed: without a server there is no {what}. Give its result to "
            f"mocked.trigger: step_stubs={{{step_id!r}: {example}}}"
        )
        self.step_id = step_id


class StubInvalidError(ConfigError):
    """A stub cannot be the result of its step."""

    code = "stub_invalid"


class RunAbortedError(Error):
    """The run would never end: too many steps, or requests that get nowhere."""

    code = "run_aborted"
    is_retriable = False


class RunFailedError(Error):
    """Why a run failed, as a server learns it: for failures that are no exception of the function's own."""

    code = "run_failed"
    is_retriable = False

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self._name = name

    @property
    def name(self) -> str:
        return self._name
