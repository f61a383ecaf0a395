"""Who sends events, signals, invocations and cancellations, with retries and with clocks that are off."""

import asyncio
import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from inngest_server.api.events import invoke_function, send_events
from inngest_server.api.rest.events import list_runs_of_event
from inngest_server.api.rest.runs import delete_run
from inngest_server.api.rest.signals import send_signal
from inngest_server.wire import json

from .node import NodeDownError
from .programs import CANCEL_EVENT, EVENTS, SIGNALS

if TYPE_CHECKING:
    from .world import World

CLIENT_TRIES = 6
MARK_LIFETIME_MS = 24 * 3_600_000
"""How long an event id is remembered. Source: protocol 1.7."""
HOUR_MS = 3_600_000
FAR_PAST_MS = 400_000_000_000
"""1982, which a broken clock may say."""


class Clients:
    """All clients of a world; each draws from the world's chance."""

    def __init__(
        self,
        world: "World",
        *,
        count: int,
        pace_s: float,
        skew_ms: int,
        edges: bool,
        deploy_rate: float,
        operate_rate: float,
    ) -> None:
        self._world = world
        self._chance = world.chance
        self._seen = world.seen
        self._count = count
        self._pace_s = pace_s
        """Mean pause between what clients do."""
        self._skew_ms = skew_ms
        self._edges = edges
        """Whether ids are sent again just before and just after they are forgotten."""
        self._deploy_rate = deploy_rate
        """Deployments beside each thing that clients do."""
        self._operate_rate = operate_rate
        """As many things that operators do."""
        self._sent_ids: list[str] = []

    async def run(self) -> None:
        chance, spawn = self._chance, self._world.spawn
        for number in range(self._count):
            await asyncio.sleep(chance.expovariate(1.0) * self._pace_s)
            if chance.random() < self._deploy_rate:
                spawn(self._world.deployments.deploy())
            if chance.random() < self._operate_rate:
                spawn(self._world.operators.act())
            action = chance.random()
            if action < 0.8:
                raw = [self._make_event(number) for _ in range(chance.choice((1, 1, 1, 3)))]
                spawn(self._post(raw, twice=chance.random() < 0.1))
            elif action < 0.86:
                spawn(self._signal(number))
            elif action < 0.89:
                spawn(self._cancel())
            elif action < 0.93:
                spawn(self._invoke(number))
            else:
                spawn(self._world.deployments.deploy())

    def _make_event(self, number: int) -> dict[str, Any]:
        chance = self._chance
        event: dict[str, Any] = {
            "name": chance.choice((*EVENTS, *EVENTS, CANCEL_EVENT)),
            "data": {"k": chance.randrange(3), "n": number},
        }
        if chance.random() < 0.3:
            event["id"] = f"id-{number}"
            self._sent_ids.append(event["id"])
            if self._edges and chance.random() < 0.5:
                self._world.spawn(self._send_at_the_edge(event))
        elif self._sent_ids and chance.random() < 0.2:
            event["id"] = chance.choice(self._sent_ids)
        if chance.random() < 0.05:
            event["ts"] = self._world.clock.domain_ms() + 60_000
        elif self._skew_ms and chance.random() < 0.3:
            event["ts"] = self._odd_time()
        if chance.random() < 0.03:
            event["data"]["text"] = "\u00e4\U0001f600" * chance.choice((100, 20_000))
        return event

    def _odd_time(self) -> int:
        """A client's idea of now: hours off, days ahead, or decades back."""
        chance, now_ms = self._chance, self._world.clock.domain_ms()
        ts_ms = chance.choice(
            (now_ms + self._skew_ms, now_ms - self._skew_ms, now_ms + 30 * HOUR_MS, FAR_PAST_MS)
        )
        self._seen[f"client: event of the {'future' if ts_ms > now_ms else 'far past'}"] += 1
        return ts_ms

    def _seed(self) -> str:
        """The header by which a request that is sent again names its events as before."""
        entropy = base64.b64encode(self._chance.randbytes(10)).decode()
        now_ms = self._world.clock.domain_ms()
        if self._skew_ms and self._chance.random() < 0.3:
            self._seen["client: seed of a wrong clock"] += 1
            now_ms += self._chance.choice((-1, 1)) * self._skew_ms
        return f"{now_ms},{entropy}"

    async def _post(self, raw: list[dict[str, Any]], *, twice: bool = False) -> None:
        """Send events as an SDK does: tried again until answered, under one seed for fresh ids or without."""
        seed = self._seed() if twice or self._chance.random() < 0.6 else ""
        if twice:
            self._seen["client: one seed sent twice at once"] += 1
            self._world.spawn(self._post_seeded(raw, seed))
        await self._post_seeded(raw, seed)

    async def _post_seeded(self, raw: list[dict[str, Any]], seed: str) -> None:
        chance, auditor = self._chance, self._world.auditor
        for _ in range(CLIENT_TRIES):
            await asyncio.sleep(chance.expovariate(1.0) * 0.01)
            node = self._world.node
            if node is not None:
                began = auditor.begin()
                with suppress(NodeDownError):
                    status, answer = await node.request(send_events, raw, seed=seed, key="key")
                    self._seen["client: 503"] += status == 503
                    if status == 200:
                        auditor.acknowledge(answer["ids"], began)
                        if chance.random() < 0.2:
                            await self._read_runs(answer["ids"][0])
                    if status == 200 and chance.random() >= self._world.network_faults.lost_answer:
                        return  # Otherwise it is sent again: the client never heard of it.
            await asyncio.sleep(chance.expovariate(1.0) * 2)

    async def _read_runs(self, internal_id: str) -> None:
        """What was acknowledged can be read."""
        node, auditor = self._world.node, self._world.auditor
        if node is not None:
            known = auditor.runs_of(internal_id)
            status, answer = await node.request(list_runs_of_event, None, event_id=internal_id)
            if status == 200:
                auditor.read_runs(internal_id, known, {run["run_id"] for run in answer["data"]})

    async def _send_at_the_edge(self, event: dict[str, Any]) -> None:
        """Send an id again around the moment at which it is forgotten, once a millisecond."""
        chance, clock = self._chance, self._world.clock
        ends_ms = None
        for _ in range(20):
            await asyncio.sleep(30)
            ends_ms = self._world.auditor.mark_ends_ms(event["id"])
            if ends_ms is not None:
                break
        if ends_ms is None:
            return
        volley = chance.choice((1, 12))
        first_ms = ends_ms - (volley // 2) + chance.choice((-2, 0, 0, 0, 3))
        await asyncio.sleep(max(0.0, (first_ms - clock.now_ms()) / 1000))
        for number in range(volley):
            again = {**event, "data": {**event["data"], "again": number}}
            self._world.spawn(self._send_now(again))
            await asyncio.sleep(0.001)

    async def _send_now(self, event: dict[str, Any]) -> None:
        node, auditor = self._world.node, self._world.auditor
        if node is not None:
            began = auditor.begin()
            with suppress(NodeDownError):
                status, answer = await node.request(send_events, [event], key="key")
                if status == 200:
                    auditor.acknowledge(answer["ids"], began)

    async def _signal(self, number: int) -> None:
        node, signal, data = self._world.node, self._chance.choice(SIGNALS), {"n": number}
        auditor = self._world.auditor
        auditor.waits.signalled(signal, json.dumps(data))
        if node is not None:
            with suppress(NodeDownError):
                status, answer = await node.request(send_signal, {"signal": signal, "data": data})
                if status == 200:
                    auditor.waits.acknowledged_signal(signal, json.dumps(data), answer["data"]["run_id"])

    async def _cancel(self) -> None:
        live = [run_id for run_id, run in self._world.auditor.runs.items() if not run.ended]
        if live:
            await self.cancel(self._chance.choice(live))

    async def cancel(self, run_id: str) -> None:
        """Cancel a run, once."""
        node = self._world.node
        if node is not None:
            with suppress(NodeDownError):
                status, _ = await node.request(delete_run, None, run_id=run_id)
                if status == 200:
                    self._seen["run: cancelled by a client"] += 1
                    self._world.auditor.acknowledged_cancel(run_id)

    async def _invoke(self, number: int) -> None:
        """Invoke a function as a client; sent again under the same seed until it is answered."""
        slug = self._chance.choice([slug for app in self._world.apps for slug in app.functions])
        seed = self._seed()
        for _ in range(CLIENT_TRIES):
            node = self._world.node
            if node is not None:
                with suppress(NodeDownError):
                    body, began = {"data": {"k": number % 3}}, self._world.auditor.begin()
                    status, answer = await node.request(invoke_function, body, seed=seed, slug=slug)
                    if status == 200:
                        self._world.auditor.acknowledge_invocation(answer["id"], slug, began)
                    lost = self._chance.random() < self._world.network_faults.lost_answer
                    if status in (200, 404, 429) and not lost:
                        return
            await asyncio.sleep(self._chance.expovariate(1.0) * 2)
