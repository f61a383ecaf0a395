"""Idempotency of a function: one start in 24 hours for each value of its key.

It is a rate limit of one (`FunctionConfig.effective_rate_limit`, protocol 5.15a) and judged by the same rule,
in the same place. Beside a debounce it counts runs: the events of a window are one run, which is judged when
the window closes. Source: features-2, 2-DEB-06.
"""

from inngest_server.apps.config import FunctionConfig


def counts_runs(config: FunctionConfig) -> bool:
    """Whether the rule waits for the window of a debounce to close."""
    return config.idempotency is not None and config.debounce is not None
