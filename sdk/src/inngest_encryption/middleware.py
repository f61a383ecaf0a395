"""What is encrypted and decrypted, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from inngest.errors import ConfigError
from inngest.events import Event
from inngest.middleware import MiddlewareSync

from .cipher import Cipher, is_encrypted

if TYPE_CHECKING:
    from inngest.client import Inngest
    from inngest.context import Context, ContextSync
    from inngest.function import Function
    from inngest.middleware import StepMemos, TransformOutputResult

__all__ = ["EncryptionMiddleware"]

OF_A_RUN = "inngest/function."
"""Events with this beginning are about a run: failed, finished, cancelled."""


class EncryptionMiddleware(MiddlewareSync):
    """Encrypts step outputs, function outputs, and one field of the data of events and invocations.

    For asynchronous and synchronous functions. Put it first in the list of middleware: then the others see
    plain values in `transform_input` and `transform_output`. Errors, and events' names and other fields,
    stay readable.
    """

    def __init__(
        self,
        client: Inngest,
        raw_request: object,
        secret_key: str | bytes,
        *,
        decrypt_only: bool = False,
        event_encryption_field: str = "encrypted",
        fallback_decryption_keys: Sequence[str | bytes] | None = None,
    ) -> None:
        super().__init__(client, raw_request)
        self._cipher = Cipher(secret_key, fallback_decryption_keys or ())
        self._decrypt_only = decrypt_only
        self._field = event_encryption_field

    @classmethod
    def factory(
        cls,
        secret_key: str | bytes,
        *,
        decrypt_only: bool = False,
        event_encryption_field: str = "encrypted",
        fallback_decryption_keys: Sequence[str | bytes] | None = None,
    ) -> Callable[[Inngest, object], EncryptionMiddleware]:
        """An entry for a list of middleware.

        `decrypt_only` leaves everything readable that is sent from now on. `fallback_decryption_keys` are
        tried, in this order, for what `secret_key` does not open. To change the key without a gap, deploy
        everywhere: the new key as a fallback; the new key, with the old one as a fallback; the new key
        alone, as soon as no run or event of the old key is left.

        Raises:
            ConfigError: a key or the name of the field is empty.
            ImportError: PyNaCl is not installed.
        """
        if isinstance(fallback_decryption_keys, str | bytes):
            raise ConfigError("fallback_decryption_keys is a list of keys, not one key")
        if not event_encryption_field:
            raise ConfigError("event_encryption_field is empty, but names the field of event.data to encrypt")
        Cipher(secret_key, fallback_decryption_keys or ())  # Wrong keys are told when the app starts.

        def make(client: Inngest, raw_request: object) -> EncryptionMiddleware:
            return cls(
                client,
                raw_request,
                secret_key,
                decrypt_only=decrypt_only,
                event_encryption_field=event_encryption_field,
                fallback_decryption_keys=fallback_decryption_keys,
            )

        return make

    def transform_input(self, ctx: Context | ContextSync, function: Function[Any], steps: StepMemos) -> None:
        """Let the code see plain events and results."""
        # `ctx.event` is also the first of `ctx.events`, unless other middleware has replaced one of them.
        for event in {id(event): event for event in (ctx.event, *ctx.events)}.values():
            data = self._decrypt_data(event.data)
            event.data = self._decrypt_run(data) if event.name.startswith(OF_A_RUN) else data
        for output in steps.values():
            output.data = self._decrypt_result(output.data)

    def transform_output(self, result: TransformOutputResult) -> None:
        """Let the server see neither results nor the data of invocations."""
        if self._decrypt_only:
            return
        if result.error is None and result.has_output():
            result.output = self._cipher.encrypt(result.output)
        payload = (result.step.opts or {}).get("payload") if result.step is not None else None
        if isinstance(payload, dict):
            fields = cast("dict[str, object]", payload)
            if isinstance(data := fields.get("data"), Mapping):
                fields["data"] = self._encrypt_data(cast("Mapping[str, Any]", data))

    def before_send_events(self, events: list[Event]) -> None:
        """Encrypt the field in copies: the caller's own events stay as they are."""
        if self._decrypt_only:
            return
        for number, event in enumerate(events):
            data = self._encrypt_data(event.data)
            if data is not event.data:
                events[number] = event.model_copy(update={"data": data})

    def _encrypt_data(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._field not in data or is_encrypted(data[self._field]):
            return data
        return {**data, self._field: self._cipher.encrypt(data[self._field])}

    def _decrypt_data(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of an event: its field, or (first versions of the TypeScript middleware) the data as a whole."""
        if is_encrypted(data):
            return self._cipher.decrypt(data)
        if is_encrypted(data.get(self._field)):
            return {**data, self._field: self._cipher.decrypt(data[self._field])}
        return data

    def _decrypt_run(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an event about a run has of it, for `on_failure` to find the run's event (protocol 5.3)."""
        changed = dict(data)
        if isinstance(data.get("event"), dict):
            changed["event"] = self._decrypt_result(data["event"])
        if isinstance(data.get("events"), list):
            changed["events"] = [self._decrypt_result(event) for event in data["events"]]
        if "result" in data:
            changed["result"] = self._cipher.decrypt(data["result"])
        return changed

    def _decrypt_result(self, value: object) -> object:
        """Of a step: its output, or the event that a wait came to."""
        match value:
            case Event():
                return value.model_copy(update={"data": self._decrypt_data(value.data)})
            case {"name": str(), "data": dict()} if not is_encrypted(value):
                event = cast("dict[str, Any]", value)
                return {**event, "data": self._decrypt_data(event["data"])}
            case _:
                return self._cipher.decrypt(value)
