"""A registration that comes as the answer to the server's PUT. Source: protocol 2.8 and 13."""

from collections.abc import Mapping

from inngest_server.apps.fields import is_object
from inngest_server.apps.problems import Problem, RegistrationInvalidError

__all__ = ["SYNC_KIND", "SYNC_KIND_HEADER", "register_body"]

SYNC_KIND_HEADER = "X-Inngest-Sync-Kind"
SYNC_KIND = "in_band"

_SAME_NAME = ("appVersion", "framework", "functions", "capabilities")


def register_body(reply: object, url: str) -> dict[str, object]:
    """The body with which the app at `url` would have registered itself, from its decoded reply.

    Python sends no `sdk`: it is put together from the language and the version. The app's own idea of its
    address does not count, because `url` is known to lead to it; functions keep the addresses that they give.

    Raises:
        RegistrationInvalidError: the reply is no object.
    """
    if not is_object(reply):
        message = "the app's reply to the sync is not an object; is something else serving this URL?"
        raise RegistrationInvalidError([Problem(None, "", "invalid_request", message)])
    body: dict[str, object] = {name: reply[name] for name in _SAME_NAME if reply.get(name) is not None}
    return {**body, "appName": reply.get("app_id"), "url": url, "deployType": "ping", "sdk": _sdk_of(reply)}


def _sdk_of(reply: Mapping[str, object]) -> str:
    sdk, language, version = reply.get("sdk"), reply.get("sdk_language"), reply.get("sdk_version")
    if isinstance(sdk, str) and sdk:
        return sdk
    if not (isinstance(language, str) and isinstance(version, str)):
        return ""
    return f"{language}:v{version.removeprefix('v')}"
