"""Anthropic."""

from .base import ProviderAdapter

__all__ = ["Adapter"]


class Adapter(ProviderAdapter):
    """Messages; the body needs `max_tokens`, which has no default."""

    _base_url = "https://api.anthropic.com/v1"
    _path = "messages"
    _format = "anthropic"
    _own_headers = {"anthropic-version": "2023-06-01"}  # noqa: RUF012
