"""From what a proxy saw to what a fixture keeps: no ids, ports or paths of the machine that recorded it.

Placeholders stand for what differs each time: `<ulid:3>`, `<uuid:1>`, `<item:2>`, numbered as they first
appear. `Bindings` finds their values again when the exchange is replayed: what the engine sends binds them,
what the app answered is filled with them. Times stay as they were: a replay runs at the recorded time.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

KEPT_HEADERS = frozenset(
    {
        "account-id",
        "authorization",
        "content-type",
        "retry-after",
        "x-inngest-event-id-seed",
        "x-inngest-expected-server-kind",
        "x-inngest-framework",
        "x-inngest-generation-id",
        "x-inngest-job-id",
        "x-inngest-no-retry",
        "x-inngest-req-version",
        "x-inngest-sdk",
        "x-inngest-sdk-handled",
        "x-inngest-server-kind",
        "x-inngest-step-id",
        "x-inngest-sync-kind",
        "x-request-id",
        "x-run-id",
    }
)
ITEM_KEYS = frozenset({"job_id", "qi_id", "x-inngest-job-id"})
"""Opaque names of queue items: an app may only echo them."""
TIME_KEYS = frozenset({"ts", "expire", "fetched_at", "cached_until"})
"""Moments that the server takes from its own clock."""

REPEATED_CHARS_MIN = 1000

_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})"
    r"|(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}))(?![0-9A-Za-z])"
)
_PLACEHOLDER = re.compile(r"<(?:ulid|uuid|item):\d+>")
_REPEATED = re.compile(r"<repeat:(.):(\d+)>", re.DOTALL)
_PATH = re.compile(r"(?:file://)?(?:/[\w.@+-]+)+/([\w.@+-]+)")
_ACCOUNT = "00000000-0000-4000-a000-000000000000"


class Names:
    """Gives each id its placeholder, the same one wherever it appears."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def of(self, kind: str, value: str) -> str:
        if value not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[value] = f"<{kind}:{self._counts[kind]}>"
        return self._names[value]

    def normal(self, value: Any, key: str = "") -> Any:
        """The value without ids and machine paths."""
        match value:
            case dict():
                # In the order of keys, not of arrival, so that recordings differ only where behaviour does.
                return {name: self.normal(value[name], name) for name in sorted(value)}
            case list():
                return [self.normal(one, key) for one in value]
            case str() if key in ITEM_KEYS and value:
                return self.of("item", value)
            case str():
                return self._text(value, key)
            case _:
                return value

    def _text(self, text: str, key: str) -> str:
        if len(text) >= REPEATED_CHARS_MIN and text == text[0] * len(text):
            return f"<repeat:{text[0]}:{len(text)}>"
        if key == "stack":
            # Only where an error came from is worth keeping of a trace.
            lines = text.strip().splitlines()
            text = _PATH.sub(r"\1", "\n".join(dict.fromkeys([*lines[:1], *lines[-1:]])))
        return _ID.sub(self._named, text)

    def _named(self, found: re.Match[str]) -> str:
        if found[0] == _ACCOUNT:
            return found[0]
        return self.of("ulid" if found["ulid"] else "uuid", found[0])


def unpacked(value: Any) -> Any:
    """With long repetitions written out again."""
    match value:
        case dict():
            return {name: unpacked(one) for name, one in value.items()}
        case list():
            return [unpacked(one) for one in value]
        case str() if found := _REPEATED.fullmatch(value):
            return found[1] * int(found[2])
        case _:
            return value


class MismatchError(AssertionError):
    """What was sent is not what was recorded."""


class Bindings:
    """The values of placeholders in one replay."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def copy(self) -> "Bindings":
        new = Bindings()
        new._values = dict(self._values)
        return new

    def filled(self, value: Any) -> Any:
        """With the values of placeholders; one that nothing has bound stays as it is."""
        match value:
            case dict():
                return {self.filled(name): self.filled(one) for name, one in value.items()}
            case list():
                return [self.filled(one) for one in value]
            case str():
                return _PLACEHOLDER.sub(lambda found: self._values.get(found[0], found[0]), value)
            case _:
                return value

    def unify(self, recorded: Any, sent: Any, where: str = "", key: str = "") -> None:
        """Return if both say the same, and bind the placeholders of `recorded` that are new.

        Raises:
            MismatchError: they differ; the message says where.
        """
        match recorded, sent:
            case dict(), dict():
                if missing := recorded.keys() - sent.keys():
                    raise MismatchError(f"{where}: {sorted(missing)} was recorded and is not sent")
                if extra := sent.keys() - recorded.keys():
                    raise MismatchError(f"{where}: {sorted(extra)} is sent and was not recorded")
                for name in recorded:
                    self.unify(recorded[name], sent[name], f"{where}.{name}", name)
            case list(), list() if len(recorded) == len(sent):
                for index, (one, other) in enumerate(zip(recorded, sent, strict=True)):
                    self.unify(one, other, f"{where}[{index}]", key)
            case str(), str():
                if key not in TIME_KEYS:
                    self._unify_text(recorded, sent, where)
            case _ if key in TIME_KEYS and type(recorded) is type(sent):
                return
            case _ if type(recorded) is type(sent) and recorded == sent:
                return
            case _:
                raise MismatchError(f"{where}: recorded {_shown(recorded)}, sent {_shown(sent)}")

    def _unify_text(self, recorded: str, sent: str, where: str) -> None:
        if recorded == sent:
            return
        pattern, last, names = "", 0, list[str]()
        for found in _PLACEHOLDER.finditer(recorded):
            pattern += re.escape(recorded[last : found.start()])
            known = self._values.get(found[0])
            if known is not None:
                pattern += re.escape(known)
            elif found[0] in names:
                pattern += f"(?P=p{names.index(found[0])})"
            else:
                pattern += f"(?P<p{len(names)}>.+?)"
                names.append(found[0])
            last = found.end()
        matched = re.fullmatch(pattern + re.escape(recorded[last:]), sent, re.DOTALL)
        if matched is None:
            raise MismatchError(f"{where}: recorded {_shown(self.filled(recorded))}, sent {_shown(sent)}")
        self._values.update({name: matched[f"p{index}"] for index, name in enumerate(names)})


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in KEPT_HEADERS}
