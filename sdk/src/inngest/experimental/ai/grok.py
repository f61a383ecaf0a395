"""Grok, by xAI."""

from .base import ProviderAdapter

__all__ = ["Adapter"]


class Adapter(ProviderAdapter):
    """Chat completions in OpenAI's dialect."""

    _base_url = "https://api.x.ai/v1"
    _path = "chat/completions"
