"""Adapters for `step.ai.infer`: where a model provider is, how it wants to be asked, and with which key.

    from inngest.experimental.ai import openai

    adapter = openai.Adapter(auth_key=os.environ["OPENAI_API_KEY"], model="gpt-4o")
    answer = await ctx.step.ai.infer("summarize", adapter=adapter, body={"messages": [...]})

The server makes the request (protocol 5.7), so no process of the app waits for the answer.
"""

from . import anthropic, deepseek, gemini, grok, openai
from .base import BaseAdapter

__all__ = ["BaseAdapter", "anthropic", "deepseek", "gemini", "grok", "openai"]
