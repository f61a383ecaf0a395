"""The server that runs on a directory, as `inngest doctor` talks to it: over HTTP, like anybody."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from inngest_server.cli.client import ServerRefusedError, no_answer, url_of
from inngest_server.engine.repairs import Repair, Repaired
from inngest_server.wire.signature import bearer_hash

REPAIRS_PER_REQUEST = 50
TIMEOUT_S = 60.0


class LiveServer:
    """Finds the server by the lock on its directory. `signing_key` is None for one that is open."""

    def __init__(self, directory: Path, signing_key: str | None) -> None:
        self.url = url_of(directory)
        self._headers = {"content-type": "application/json"}
        if signing_key is not None:
            self._headers["authorization"] = f"Bearer {bearer_hash(signing_key)}"

    def held(self) -> list[dict[str, Any]]:
        """What the server has set aside.

        Raises:
            ServerRefusedError: it does not say.
        """
        return self._call("GET", "/v1/held")

    def repair(self, wanted: Sequence[Repair]) -> list[Repaired]:
        """Have the server do the repairs, in the same order.

        Raises:
            ServerRefusedError: it did not; of the last few some may be done.
        """
        done: list[Repaired] = []
        for start in range(0, len(wanted), REPAIRS_PER_REQUEST):
            some = [{"kind": one.kind, "key": one.key} for one in wanted[start : start + REPAIRS_PER_REQUEST]]
            answers = self._call("POST", "/v1/repairs", {"repairs": some})
            done += [Repaired(answer["done"], answer["detail"]) for answer in answers]
        return done

    def _call(self, method: str, path: str, body: object = None) -> list[dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)
        # Straight to this machine, whatever proxy its environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ServerRefusedError(_why(error, self.url)) from error
        except (OSError, ValueError, KeyError, HTTPException) as error:
            raise ServerRefusedError(no_answer(self.url, error)) from error


def _why(error: urllib.error.HTTPError, url: str) -> str:
    if error.code == 401:
        return f"the server at {url} wants its signing key: give --signing-key or INNGEST_SIGNING_KEY"
    try:
        detail = json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        detail = error.reason
    return f"the server at {url} refused: HTTP {error.code}, {detail}"
