"""GraphQL: what the reference web interface and its tools ask. Source: protocol 7.7.

A request is parsed, checked and answered on a thread of the lane, never on the event loop: `endpoint.py`
takes it from the loop, `session.py` is the way back to what the loop owns, the rest makes the answers.
"""
