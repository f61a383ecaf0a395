"""Singleton: at most one run of a function and key, from its making to its end.

`skip`: a second one is recorded as skipped. `cancel`: the first is cancelled and the second takes its
place. A key that is `false` means that the rule does not apply (singleton guide, protocol 5.9).
"""

from collections.abc import Mapping
from typing import Any

from tests.models.options import key_of, value_of


def lock_of(options: Mapping[str, Any] | None, data: Mapping[str, Any]) -> str | None:
    """The name under which a run on this event must be alone; None: it need not be."""
    if options is None or (options.get("key") and value_of(options["key"], data) is False):
        return None
    return key_of(options, data)
