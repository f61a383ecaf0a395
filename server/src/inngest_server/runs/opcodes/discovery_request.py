"""DiscoveryRequest: the app asks to be called again."""

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn


def discovery_request(turn: Turn, op: Op) -> None:
    turn.wants_discovery = True
