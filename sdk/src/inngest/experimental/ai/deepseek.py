"""DeepSeek."""

from .base import ProviderAdapter

__all__ = ["Adapter"]


class Adapter(ProviderAdapter):
    """Chat completions in OpenAI's dialect."""

    _base_url = "https://api.deepseek.com/v1"
    _path = "chat/completions"
