"""What goes wrong with a world, beside what a test asserts.

WorldError
├── AppNotServedError        the app did not register its functions in this world
├── WorldStuckError          a call of an app does not end
├── NotIdleError             something still waits after as long as was allowed
├── ClockMoveError           the clock cannot be moved there
├── NoSuchRunError           an event started no run, or several, where one was expected
├── UnknownStepError         a run has no step of that name
└── RefusedError             the server refused a command, for a reason of its own

HistoriesDifferError is an AssertionError: code does not follow histories of runs.
"""


class WorldError(Exception):
    """A command of a world that cannot be done; the message says what to try."""

    code = "world_error"


class AppNotServedError(WorldError):
    code = "app_not_served"


class WorldStuckError(WorldError):
    code = "world_stuck"


class NotIdleError(WorldError):
    code = "not_idle"


class ClockMoveError(WorldError):
    code = "clock_move"


class NoSuchRunError(WorldError):
    code = "no_such_run"


class UnknownStepError(WorldError, KeyError):
    code = "unknown_step"

    __str__ = Exception.__str__


class RefusedError(WorldError):
    """`code` is the server's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class HistoriesDifferError(AssertionError):
    code = "histories_differ"
