"""Keeps apps in step in development: asks the ones that are known to announce themselves again."""

import asyncio

import structlog

from inngest_server.apps.app_error import AppError
from inngest_server.apps.urls import normalize_app_url
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import AppCameBack, AppFailed
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.engine.rounds import repeat
from inngest_server.execution.syncer import AppSyncer

log = structlog.get_logger("inngest.sync")


class AppPoller:
    """One loop over the apps given on the command line and those that registered."""

    def __init__(
        self, engine: Engine, syncer: AppSyncer, *, urls: tuple[str, ...], poll: bool, interval_s: float
    ) -> None:
        self._engine = engine
        self._syncer = syncer
        self._urls = tuple(normalize_app_url(url) for url in urls)
        self._poll = poll
        self._interval_s = interval_s
        self._errors: dict[str, str] = {}
        self._synced: set[str] = set()

    async def run(self) -> None:
        await repeat("polling of apps", self._round)

    async def _round(self) -> float:
        await self.run_once()
        return self._interval_s

    async def run_once(self) -> None:
        """Ask every app that is due; with polling off only those that failed or never answered."""
        apps = [app for app in self._engine.functions.apps.values() if app.archived_at_ms is None and app.url]
        failing = {app.url for app in apps if app.error}
        urls = dict.fromkeys((*self._urls, *(app.url for app in apps)))
        known = [url for url in urls if url.startswith("http")]
        wanted = [url for url in known if self._poll or url in failing or url not in self._synced]
        await asyncio.gather(*[self.ask(url) for url in wanted])

    async def ask(self, url: str) -> bool:
        """Ask the app at a URL to announce itself; whether its functions are registered now."""
        try:
            return await self._note(url, await self._syncer.sync(url))
        except EngineUnavailableError:
            return False  # Nothing is wrong with the app; the next round asks it again.

    async def _note(self, url: str, error: AppError | None) -> bool:
        """Say what changed; whether the app is registered.

        Raises:
            EngineUnavailableError: nothing can be stored now.
        """
        if error is None and not any(app.url == url for app in self._engine.functions.apps.values()):
            # Some SDKs accept the request although this server then refused what they sent.
            error = AppError(
                "not_registered",
                f"the app at {url} answered, but its registration did not arrive or was refused; "
                "compare the signing keys, and INNGEST_BASE_URL of the app with this server's address",
            )
        if error is None:
            self._synced.add(url)
            if self._errors.pop(url, None) is not None:
                log.info("sync.app_is_back", url=url)
                await self._engine.ask(AppCameBack(url))
            return True
        message = f"{error.code}: {error.message}"
        if self._errors.get(url) == message:
            return False  # Said before; an app that stays away should not fill the log.
        self._errors[url] = message
        log.warning("sync.failed", url=url, code=error.code, detail=error.message)
        await self._engine.ask(AppFailed(url, message))
        return False
