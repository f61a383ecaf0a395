"""Errors: their codes, what they say about another try, and how they are made."""

import inspect
import pickle
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inngest import errors
from inngest.errors import (
    Error,
    NonRetriableError,
    NonRetriableStepError,
    RetryAfterError,
    StepError,
)

ALL = {one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Error)}


def test_every_error_has_its_own_code() -> None:
    # These two share one on purpose: the second is what the first becomes when a step raised it.
    codes = [one.code for one in ALL if one is not NonRetriableStepError]

    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_the_tree_in_the_module_is_complete() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"\b\w+Error\b|\bError\b", errors.__doc__)) - {"ValueError"}

    assert drawn == {one.__name__ for one in ALL}
    assert set(errors.__all__) == drawn | {"BodyInvalidError"}


def test_a_non_retriable_error_keeps_its_cause() -> None:
    cause = ValueError("why")
    error = NonRetriableError("what", quiet=True, cause=cause)

    assert (error.message, error.quiet, error.is_retriable, error.__cause__) == ("what", True, False, cause)
    assert NonRetriableError().message == ""


def test_a_step_error_tells_of_the_original() -> None:
    error = StepError("no such user", "UserNotFoundError", "Traceback ...")

    assert (error.name, error.message, error.stack) == ("UserNotFoundError", "no such user", "Traceback ...")
    assert str(error) == "no such user"
    assert not error.is_retriable


def test_a_non_retriable_step_error_is_caught_as_either() -> None:
    error = NonRetriableStepError("m", "NonRetriableError", None)

    assert isinstance(error, StepError)
    assert isinstance(error, NonRetriableError)
    assert (error.message, error.name) == ("m", "NonRetriableError")


@pytest.mark.parametrize("kind", [StepError, NonRetriableStepError])
def test_a_step_error_survives_pickling(kind: Any) -> None:
    copy = pickle.loads(pickle.dumps(kind("m", "N", "s")))

    assert (type(copy), copy.message, copy.name, copy.stack) == (kind, "m", "N", "s")


@pytest.mark.parametrize(
    ("given", "header"),
    [
        (1000, "1"),
        (1, "1"),
        (0, "0"),
        (timedelta(minutes=2), "120"),
        ("30m", "1800"),
        ("2.5d", "216000"),
        (timedelta(days=365), "9999999"),
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00+00:00"),
    ],
)
def test_the_time_of_the_next_try_is_a_delay_or_a_moment(given: Any, header: str) -> None:
    error = RetryAfterError("later", given)

    assert error.header() == header
    assert error.retry_after.tzinfo is UTC
    assert error.is_retriable


def test_a_naive_moment_is_local_time() -> None:
    local = datetime(2030, 1, 1, 12)

    assert RetryAfterError(None, local).retry_after == local.astimezone()


def test_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="retry_after has to be"):
        RetryAfterError("later", "whenever")
