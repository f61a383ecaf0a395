"""Gemini, by Google."""

from typing import Any
from urllib.parse import quote

from .base import ProviderAdapter

__all__ = ["Adapter"]


class Adapter(ProviderAdapter):
    """`generateContent`: the URL names the model; the server adds the key to it when it makes the request."""

    _base_url = "https://generativelanguage.googleapis.com/v1beta"
    _format = "gemini"

    def on_call(self, body: dict[str, Any]) -> None:
        """Leave the body as it is: the model is in the URL."""

    def url_infer(self) -> str:
        return f"{self._base}/models/{quote(self._model)}:generateContent"
