"""OpenAI, and whatever speaks its chat completions."""

from .base import ProviderAdapter

__all__ = ["Adapter"]


class Adapter(ProviderAdapter):
    """Chat completions; for a compatible provider give its `base_url`."""

    _base_url = "https://api.openai.com/v1"
    _path = "chat/completions"
