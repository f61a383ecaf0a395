"""Durable functions in Python, for any server that speaks the Inngest protocol."""

from typing import TYPE_CHECKING

from ._config import Streaming
from ._shells.current import ParallelMode
from ._wire.types import JSON
from .client import Inngest
from .context import Context, ContextSync
from .errors import Error, NonRetriableError, RetryAfterError, StepError
from .flow_control import (
    Batch,
    Cancel,
    Checkpointing,
    Concurrency,
    Debounce,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
)
from .function import Function
from .group import Group, GroupSync
from .middleware import (
    Middleware,
    MiddlewareSync,
    SendEventsResult,
    StepMemos,
    TransformOutputResult,
    TransformOutputStepInfo,
)
from .serializer import PydanticSerializer, Serializer
from .step import FetchResponse, ReceivedSignal, Step, StepSync
from .triggers import Trigger, TriggerCron, TriggerEvent

if TYPE_CHECKING:
    from .events import Event
del TYPE_CHECKING

SyncStep = StepSync
"""Another name of `StepSync`."""

__all__ = [
    "JSON",
    "Batch",
    "Cancel",
    "Checkpointing",
    "Concurrency",
    "Context",
    "ContextSync",
    "Debounce",
    "Error",
    "Event",
    "FetchResponse",
    "Function",
    "Group",
    "GroupSync",
    "Inngest",
    "Middleware",
    "MiddlewareSync",
    "NonRetriableError",
    "ParallelMode",
    "Priority",
    "PydanticSerializer",
    "RateLimit",
    "ReceivedSignal",
    "RetryAfterError",
    "SendEventsResult",
    "Serializer",
    "Singleton",
    "Step",
    "StepError",
    "StepMemos",
    "StepSync",
    "Streaming",
    "SyncStep",
    "Throttle",
    "Timeouts",
    "TransformOutputResult",
    "TransformOutputStepInfo",
    "Trigger",
    "TriggerCron",
    "TriggerEvent",
    "__version__",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`Event` when it is first asked for: it is a Pydantic model, and Pydantic takes its time."""
    if name == "Event":
        from .events import Event

        globals()["Event"] = Event
        return Event
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
