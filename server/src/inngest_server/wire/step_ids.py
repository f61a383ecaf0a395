"""The identity of a step on the wire."""

import hashlib


def hash_step_id(text: str) -> str:
    """The hashed form of a step id, the only one that SDKs report and memos are kept under.

    For the n-th repetition of an id the text is `id:n`. Source: protocol 4.5.
    """
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
