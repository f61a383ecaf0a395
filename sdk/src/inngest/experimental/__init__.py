"""Parts whose interface may still change between minor versions."""

from .step_context import StepContextError, get_step_context, set_step_context, step

__all__ = ["StepContextError", "get_step_context", "set_step_context", "step"]
