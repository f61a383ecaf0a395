"""A durable execution server that speaks the Inngest protocol."""

__all__ = ["__version__"]

__version__ = "0.1.0"
