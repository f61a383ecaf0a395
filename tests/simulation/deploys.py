"""Deployments in the middle of runs: code and options change, apps move, registrations get lost or overtake.

What must hold afterwards: a run goes on by the ids of its steps, whatever the code around them has become; a
run of a function that is gone finishes against the function's last URL; a limit that is gone holds nobody;
what a function said about `cancelOn` when a run started holds for that run.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from inngest_server.apps.registration import parse_registration
from inngest_server.engine.facts import AppRemoved, Synced
from inngest_server.engine.options import EngineUnavailableError

from .apps import App
from .node import NodeDownError
from .options import Rules, read_rules
from .programs import CANCEL_EVENT, Function, Parallel, Program

if TYPE_CHECKING:
    from .world import World

SYNC_TRIES = 40_000


class Deployments:
    """Changes what apps serve, and tells the server, if all goes well."""

    def __init__(self, world: "World", *, changes_code: bool) -> None:
        self._world = world
        self._chance = world.chance
        self._seen = world.seen
        self._changes_code = changes_code
        self._earlier: list[dict[str, Any]] = []
        """Registrations that were sent before, and may arrive again."""
        self._moves = 0
        self._running = 0

    async def deploy(self) -> None:
        """A deployment of one app; see `_deploy`."""
        self._running += 1
        try:
            await self._deploy()
        finally:
            self._running -= 1

    async def _deploy(self) -> None:
        """One deployment of one app, announced once, twice, late, or not until the next one."""
        chance, app = self._chance, self._chance.choice(self._world.apps)
        for function in app.functions.values():
            self._change_options(function)
            if self._changes_code and function.cron is None:
                self._change_code(app, function)
        if self._changes_code and chance.random() < 0.25:
            self._move(app)
        elif self._changes_code and chance.random() < 0.15:
            self._seen["deploy: app renamed"] += 1
            app.name = f"{app.name.partition('~')[0]}~{self._number()}"
        if self._changes_code and chance.random() < 0.1:
            self._seen["deploy: app removed"] += 1
            await self._tell(AppRemoved(app.url))
        draw = chance.random() if self._changes_code else 1.0
        if draw < 0.15:
            self._seen["registration: lost"] += 1
            return
        if draw < 0.3:
            self._seen["registration: doubled"] += 1
            await asyncio.gather(self.sync(app), self.sync(app))
            return
        if draw > 0.85 and self._earlier and self._changes_code:
            self._seen["registration: late"] += 1
            await self.sync(app)
            await asyncio.sleep(chance.expovariate(1.0) * 5)
            await self._tell(Synced(parse_registration(chance.choice(self._earlier))))
            return
        await self.sync(app)

    def _number(self) -> int:
        self._moves += 1
        return self._moves

    def _change_options(self, function: Function) -> None:
        chance = self._chance
        if chance.random() < 0.2 and function.cron is None:
            function.hidden = not function.hidden
            self._seen[f"deploy: function {'removed' if function.hidden else 'back'}"] += 1
        if chance.random() < 0.4 and function.options_maker is not None:
            self._seen["deploy: options changed"] += 1
            function.options = function.options_maker.change(function.options)
        if chance.random() < 0.15:
            self._seen["deploy: cancelOn changed"] += 1
            function.cancel_event = None if function.cancel_event else CANCEL_EVENT
        if chance.random() < 0.15:
            self._seen["deploy: retries changed"] += 1
            function.retries = chance.choice((0, 1, 3))

    def _change_code(self, app: App, function: Function) -> None:
        chance = self._chance
        if chance.random() < 0.5:
            function.program = self._other_program(function, function.program)
            app.versions[function.slug] = app.versions.get(function.slug, 0) + 1
        if function.hidden and chance.random() < 0.3:
            self._seen["deploy: code removed"] += 1
            function.is_served = False

    def _other_program(self, function: Function, program: Program) -> Program:
        """The program with one step added, removed, renamed, or two in another order; also within a group."""
        chance, maker = self._chance, function.maker
        assert maker is not None or len(program) > 0
        body = list(program)
        at = chance.randrange(len(body)) if body else 0
        inner = body[at] if body else None
        if isinstance(inner, Parallel) and chance.random() < 0.5:
            branches = list(inner.branches)
            which = chance.randrange(len(branches))
            branches[which] = self._other_program(function, branches[which])
            body[at] = inner._replace(branches=tuple(branches))
            return tuple(body)
        change = chance.choice(("added", "removed", "renamed", "reordered"))
        if change == "added" and maker is not None:
            body.insert(chance.randrange(len(body) + 1), maker.one())
        elif change == "removed" and len(body) > 1:
            del body[at]
        elif change == "renamed" and maker is not None:
            body[at] = maker.renamed(body[at])
        elif change == "reordered" and len(body) > 1:
            other = chance.randrange(len(body))
            body[at], body[other] = body[other], body[at]
        else:
            return program
        self._seen[f"deploy: step{'s' if change == 'reordered' else ''} {change}"] += 1
        return tuple(body)

    def _move(self, app: App) -> None:
        """To another URL; the old one answers on for a while, or is gone at once."""
        self._seen["deploy: app at another URL"] += 1
        hosts = self._world.network.apps
        old = app.host
        app.host = f"{app.name}-{self._number()}.test:3000"
        hosts[app.host] = app
        if self._chance.random() < 0.5:
            del hosts[old]

    async def settle(self) -> None:
        """The last word of every app, after all that is under way; what has another name now is removed."""
        world = self._world
        for _ in range(SYNC_TRIES):
            node = world.node
            await asyncio.sleep(0.5)
            if self._running or node is None or node.engine.failure is not None:
                continue
            names = {app.name for app in world.apps}
            apps = [row for row in node.engine.functions.apps.values() if row.archived_at_ms is None]
            left = [row.url for row in apps if row.name not in names]
            if not left:
                break
            await self._tell(AppRemoved(left[0]))
        for app in world.apps:
            for function in app.functions.values():
                function.cron = None
            await self.sync(app)

    # Telling the server.

    async def _tell(self, fact: AppRemoved | Synced) -> None:
        """Once; nobody minds if it gets lost."""
        node = self._world.node
        if node is not None:
            try:
                with self._offer(fact):
                    await node.answer_of(node.engine.ask(fact))
            except (NodeDownError, EngineUnavailableError):
                return

    @contextmanager
    def _offer(self, fact: AppRemoved | Synced) -> Iterator[None]:
        """Let the auditor know what may be decided from now on, until it was, or never will be."""
        number, rules = self._number(), dict[str, Rules]()
        if isinstance(fact, Synced):
            rules = {one.id: read_rules(one.to_json()) for one in fact.registration.functions}
        self._world.auditor.offer(number, rules)
        try:
            yield
        finally:
            self._world.auditor.heard(number)

    async def sync(self, app: App) -> None:
        """Announce the app until the server has taken it."""
        wanted: dict[str, Any] = {}
        auditor = self._world.auditor
        for _ in range(SYNC_TRIES):
            if wanted != app.registration():  # What is deployed meanwhile is what the app announces.
                wanted = app.registration()
                registration = parse_registration(wanted)
            if auditor.problems:
                return
            node = self._world.node
            if node is not None:
                try:
                    fact = Synced(registration)
                    with self._offer(fact):
                        await node.answer_of(node.engine.ask(fact))
                    self._earlier.append(wanted)
                    return
                except (NodeDownError, EngineUnavailableError):
                    pass
            await asyncio.sleep(0.5)
        auditor.note(f"for {SYNC_TRIES / 2:.0f} s nobody took a sync")
