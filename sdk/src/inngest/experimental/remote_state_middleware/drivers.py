"""Drivers: the memory of this process, and S3 or what speaks its protocol."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, cast

from inngest.errors import Error

if TYPE_CHECKING:
    from inngest.middleware import StepMemos

__all__ = ["InMemoryDriver", "RemoteStateError", "S3Driver"]

MARKER: Final = "__REMOTE_STATE__"
STRATEGY_MARKER: Final = "__STRATEGY__"
REQUESTS_MAX: Final = 8
"""At the same time, so that a run of many steps does not wait for one after another."""


class RemoteStateError(Error):
    """A stored step output is not where its reference says."""

    code = "remote_state"


class InMemoryDriver:
    """For tests: outputs live, and stay, in this process; no other one can go on with its runs."""

    _strategy: Final = "inngest/memory"

    def __init__(self) -> None:
        self._data: dict[str, str] = {}

    def load_steps(self, steps: StepMemos) -> None:
        """Put the outputs in place of their references.

        Raises:
            RemoteStateError: an output was stored by another process.
        """
        for output in steps.values():
            if _is_reference(output.data, self._strategy):
                output.data = self._load(output.data.get("key"))

    def _load(self, key: object) -> object:
        text = self._data.get(key) if isinstance(key, str) else None
        if text is None:
            raise RemoteStateError(
                f"step output {key!r} is not in the memory of this process: another one stored it, or this "
                "one has restarted. Where that happens, use a driver that shares its store, such as S3Driver"
            )
        return json.loads(text)

    def save_step(self, run_id: str, value: object) -> dict[str, object]:
        key = secrets.token_urlsafe(24)
        # As text, so that code which changes an output does not change what is stored.
        self._data[key] = json.dumps(value)
        return {MARKER: True, STRATEGY_MARKER: self._strategy, "key": key}


class S3Client(Protocol):
    """What is used of `boto3.client("s3")`."""

    def get_object(self, *, Bucket: str, Key: str) -> Any: ...

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> Any: ...


class S3Driver:
    """One object per output, `inngest/remote_state/<run id>/<random>`; expire them with a rule of the bucket.

    `client` is `boto3.client("s3")`, or anything with its `get_object` and `put_object`. It is used from
    several threads, as those clients may be. The rule should keep objects for longer than the longest run
    takes.
    """

    blocks: Final = True
    _strategy: Final = "inngest/s3"
    _prefix: Final = "inngest/remote_state/"

    def __init__(self, *, bucket: str, client: S3Client) -> None:
        self._bucket = bucket
        self._client = client

    def load_steps(self, steps: StepMemos) -> None:
        """Put the outputs in place of their references.

        Raises:
            RemoteStateError: a reference leads out of this driver's bucket or folder.
        """
        found = [(each, each.data) for each in steps.values() if _is_reference(each.data, self._strategy)]
        if len(found) < 2:
            loaded = [self._load(reference) for _, reference in found]
        else:
            with ThreadPoolExecutor(min(len(found), REQUESTS_MAX)) as pool:
                loaded = list(pool.map(self._load, [reference for _, reference in found]))
        for (output, _), value in zip(found, loaded, strict=True):
            output.data = value

    def _load(self, reference: dict[str, Any]) -> object:
        bucket, key = reference.get("bucket"), reference.get("key")
        # A reference may come from outside, as the output of an invoked function: it must not read other
        # objects.
        if bucket != self._bucket or not isinstance(key, str) or not key.startswith(self._prefix):
            raise RemoteStateError(
                f"a step output is said to be in bucket {bucket!r} at {key!r}, but this driver reads only "
                f"bucket {self._bucket!r} below {self._prefix!r}"
            )
        return json.loads(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def save_step(self, run_id: str, value: object) -> dict[str, object]:
        key = f"{self._prefix}{run_id}/{secrets.token_urlsafe(24)}"
        self._client.put_object(Bucket=self._bucket, Key=key, Body=json.dumps(value).encode())
        return {MARKER: True, STRATEGY_MARKER: self._strategy, "bucket": self._bucket, "key": key}


def _is_reference(value: object, strategy: str) -> TypeGuard[dict[str, Any]]:
    if not isinstance(value, dict):
        return False
    fields = cast("dict[str, Any]", value)
    return fields.get(MARKER) is True and fields.get(STRATEGY_MARKER) == strategy
