"""What is answered to one call request."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Answer:
    """Status, JSON text and the headers that only the engine knows (protocol 4.1, 4.3).

    `text` is encoded already, so that a large step output is encoded once. `headers` has at most
    `x-inngest-no-retry` and `retry-after`.
    """

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
