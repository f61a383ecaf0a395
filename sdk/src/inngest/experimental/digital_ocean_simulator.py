"""Run a DigitalOcean Function on this machine, as a Flask application.

simulator = DigitalOceanSimulator(main)
simulator.app.run(port=8000)   # the function is at FULL_PATH, and at / for short
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._http.adapters import missing_library

try:
    import flask
except ImportError as error:
    raise missing_library("flask", extra="flask") from error

__all__ = ["FULL_PATH", "DigitalOceanSimulator"]

_FUNCTION_NAME = "/fn-00000000/fake-name"

FULL_PATH = f"/api/v1/web{_FUNCTION_NAME}"


@dataclass(frozen=True)
class _Context:
    api_host: str
    function_name: str = _FUNCTION_NAME


class DigitalOceanSimulator:
    """Calls a function's `main` as the platform does for `web: raw`."""

    app: flask.Flask
    """Serves the function; with a test client that needs no socket."""

    def __init__(self, main: Callable[[Any, Any], Any]) -> None:
        self._main = main
        self.app = flask.Flask(__name__)
        for path in ("/", FULL_PATH):
            self.app.add_url_rule(path, endpoint=path, view_func=self._call, methods=["GET", "POST", "PUT"])

    def _call(self) -> flask.Response:
        request = flask.request
        event = {
            "http": {
                "body": request.get_data(as_text=True),
                "headers": dict(request.headers),
                "isBase64Encoded": False,
                "method": request.method,
                "path": "",
                "queryString": request.query_string.decode(),
            }
        }
        answer = self._main(event, _Context(api_host=request.host_url))
        body = answer.get("body", "")
        if not isinstance(body, str):
            body = json.dumps(body)  # The platform takes objects, too.
        return flask.Response(body, status=answer.get("statusCode", 200), headers=answer.get("headers"))
