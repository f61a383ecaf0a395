"""Draws the apps of a world and their functions from its seed."""

import random
from collections import Counter
from collections.abc import Sequence

from .apps import App, Kind, Observer, Server
from .options import OptionsMaker
from .programs import CANCEL_EVENT, EVENTS, Function, ProgramMaker, Step

CRON_STEP_MS = 600_000
CRONS = {600_000: "*/10 * * * *", 7_200_000: "0 */2 * * *"}
"""By the time between two slots."""
KINDS: tuple[Kind, ...] = ("py", "ts3", "ts4")


class Drawing:
    """Makes apps; `chance` is the world's, so that what is drawn depends on the seed alone."""

    def __init__(
        self,
        seed: int,
        chance: random.Random,
        observer: Observer,
        server: Server,
        seen: Counter[str],
        *,
        pace_s: float,
        rules: Sequence[str],
    ) -> None:
        self._seed = seed
        self._chance = chance
        self._observer = observer
        self._server = server
        self._seen = seen
        self._children: list[str] = []
        self._options = OptionsMaker(chance, pace_s=pace_s, rules=rules)

    def apps(self, cron_step_ms: int, *, skew_ms: int) -> list[App]:
        chance = self._chance
        apps: list[App] = []
        for number in range(chance.choice((1, 2, 3))):
            kind = KINDS[(chance.randrange(3) + number) % 3]
            name = f"{kind}{number}"
            functions = self._functions(name)
            if chance.random() < 0.15:
                jitter = chance.choice(("", "90s"))
                cron = CRONS[cron_step_ms]
                functions.append(Function(f"{name}-cron", (Step("tick"),), cron=cron, cron_jitter=jitter))
            skew = chance.randrange(-skew_ms, skew_ms) if skew_ms else 0
            self._seen["app: clock off"] += skew != 0
            app = App(
                name,
                kind,
                functions,
                chance=random.Random(f"{self._seed} {name}"),
                observer=self._observer,
                server=self._server,
                seen=self._seen,
                slowness_s=chance.choice((0.001, 0.1, 3.0, 30.0)),
                streams=chance.random() < 0.15,
                large_bytes=chance.choice((0, 0, 0, 0, 3_000, 90_000)),
                skew_ms=skew,
            )
            apps.append(app)
        return apps

    def _functions(self, app: str) -> list[Function]:
        chance = self._chance
        functions: list[Function] = []
        for index in range(chance.choice((1, 2, 3))):
            function = self._function(f"{app}-f{index}")
            functions.append(function)
            self._children.append(function.slug)
            function.hidden = chance.random() < 0.15
            if chance.random() < 0.3:
                functions.append(
                    Function(
                        f"{function.slug}-failure",
                        (Step("handle", chance.choice((0, 0, 99))),),
                        event="inngest/function.failed",
                        expression=f"event.data.function_id == '{function.slug}'",
                        retries=0,
                    )
                )
        return functions

    def _function(self, slug: str) -> Function:
        """Functions only invoke those made before them, so that no invocation goes in circles."""
        chance, children = self._chance, self._children
        retries = chance.choice((0, 1, 2, 4))
        maker = ProgramMaker(
            chance, [*children, "nowhere-gone"] if children else [], max_attempts=retries + 1
        )
        function = Function(slug, maker.make(chance.choice((1, 2, 4, 6))), retries=retries, maker=maker)
        if chance.random() < 0.85 or not children:
            function.event = chance.choice(EVENTS)
            if chance.random() < 0.3:
                function.expression = f"event.data.k == {chance.randrange(3)}"
        function.options_maker = self._options
        if chance.random() < 0.75:
            function.options = self._options.make()
        if chance.random() < 0.4:
            function.cancel_event = CANCEL_EVENT
        return function
