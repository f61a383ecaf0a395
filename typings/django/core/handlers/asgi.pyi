from typing import Any

from django.http import HttpRequest

class ASGIRequest(HttpRequest): ...

class ASGIHandler:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...
