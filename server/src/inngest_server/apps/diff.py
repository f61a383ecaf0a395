"""What a sync changes about the functions of an app."""

from collections.abc import Iterable
from dataclasses import dataclass

from inngest_server.apps.config import FunctionConfig

__all__ = ["SyncDiff", "diff_sync"]


@dataclass(frozen=True, slots=True)
class SyncDiff:
    """Slugs of functions: the new ones in the order of the sync, the removed ones in their old order."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    """Their version goes up."""
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    """To be archived (protocol 2.5)."""
    crons_changed: tuple[str, ...]
    """Functions, added and removed ones too, whose schedules differ: only theirs must be set anew."""

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


def diff_sync(old: Iterable[FunctionConfig], new: Iterable[FunctionConfig]) -> SyncDiff:
    """Compare the live functions of an app with those of its newest sync, by slug.

    A function has changed when the checksum of its configuration has. Order and spelling of cron
    triggers: order does not matter, another text is another schedule.
    """
    before = {function.id: function for function in old}
    after = {function.id: function for function in new}
    both = [slug for slug in after if slug in before]
    changed = {slug for slug in both if before[slug].checksum != after[slug].checksum}
    return SyncDiff(
        added=tuple(slug for slug in after if slug not in before),
        changed=tuple(slug for slug in both if slug in changed),
        unchanged=tuple(slug for slug in both if slug not in changed),
        removed=tuple(slug for slug in before if slug not in after),
        crons_changed=tuple(
            slug for slug in {**after, **before} if _crons(after.get(slug)) != _crons(before.get(slug))
        ),
    )


def _crons(function: FunctionConfig | None) -> frozenset[object]:
    return frozenset() if function is None else frozenset(function.cron_triggers)
