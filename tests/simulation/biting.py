"""Plants a bug in the engine and lets worlds run until the auditor names it."""

from collections.abc import Callable
from typing import Any

import pytest

from .auditor import AuditError
from .world import World

SEEDS_MAX = 120

UNKIND: dict[str, Any] = {"crash_rate": 0.002, "disk_error_rate": 0.05, "app_error_rate": 0.1, "events": 30}
"""Such worlds show most bugs within a few seeds."""

Plant = Callable[[pytest.MonkeyPatch], None]


def find(plant: Plant, complaint: str, patch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Fail unless the auditor says the complaint, or one of several divided by `|`, in some world."""
    plant(patch)
    said: list[str] = []
    for seed in range(SEEDS_MAX):
        try:
            World(seed, **options).run()
        except AuditError as error:
            said.append(str(error))
            if any(one in said[-1] for one in complaint.split("|")):
                return
    pytest.fail(f"nobody said {complaint!r}, but: {said[:3]}")
