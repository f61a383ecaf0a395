"""What a server was told to be: one value, made by the command line and read by the composition root."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from inngest_server.flow_control.priority import PRIORITY_MAX_S
from inngest_server.wire.limits import EVENT_BYTES_MAX

DAY_MS = 24 * 3_600_000


class ServerKind(StrEnum):
    """How a server introduces itself in `X-Inngest-Server-Kind`. Source: protocol 6.6."""

    DEV = "dev"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one server process."""

    kind: ServerKind
    host: str = "127.0.0.1"
    port: int = 8288
    allowed_hosts: tuple[str, ...] = ()
    signing_key: str | None = None
    """Without its prefix."""
    event_keys: tuple[str, ...] = ()
    insecure: bool = False
    """`start` without keys: everything is open, as in `dev`."""
    sdk_urls: tuple[str, ...] = ()
    discovery_ports: tuple[int, ...] = ()
    """Local ports on which apps are looked for as long as there is none; empty turns that off."""
    poll: bool = True
    poll_interval_s: float = 5.0
    directory: Path = Path(".inngest")
    in_memory: bool = False
    relaxed: bool = False
    """Acknowledge before the disk has it: the last moments may be lost when the machine loses power."""
    retry_interval_s: int = 0
    priority_max_s: int = PRIORITY_MAX_S
    """Constant back-off; 0 uses the documented delays."""
    retention_ms: int = 7 * DAY_MS
    """How long ended runs and events are kept; 0 keeps them for ever."""
    retention_bytes: int = 0
    """What the database may use before younger ones go, too; 0 is no limit."""
    cron_catch_up: str = "skip"
    clock: str = "real"
    """`virtual` is time that stands still until a command moves it; only in development."""
    clock_absolute: bool = False
    """Whether instants that apps send mean the server's time, however far it is from theirs."""
    app_connections: int = 256
    allow_private_gateway: bool = False
    """Whether requests that steps have the server make may reach private networks and this machine."""
    event_bytes_max: int = EVENT_BYTES_MAX
    ui: bool = True
    """Whether GraphQL, and later the web interface, are served."""
    log_json: bool = False
    log_level: str = "info"

    @property
    def is_open(self) -> bool:
        """Whether requests need no key: in development, or when told so."""
        return self.kind is ServerKind.DEV or self.insecure
