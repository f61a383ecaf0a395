"""Middleware whose library is not installed says which extra to install."""

import importlib
import subprocess
import sys

import pytest

import inngest_encryption

EXTRAS = {
    "inngest.experimental.sentry_middleware": ("sentry_sdk", r"sentry-sdk.*pip install \"\./sdk\[sentry\]\""),
    "inngest.experimental.otel_middleware": (
        "opentelemetry",
        r"opentelemetry-api.*pip install \"\./sdk\[opentelemetry\]\"",
    ),
}


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_library_is_named_with_its_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library, message = EXTRAS[module]
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, module, raising=False)

    with pytest.raises(ImportError, match=message):
        importlib.import_module(module)


def test_encryption_says_so_when_it_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl.secret", None)

    with pytest.raises(ImportError, match=r"pynacl.*pip install \"\./sdk\[encryption\]\""):
        inngest_encryption.EncryptionMiddleware.factory("key")


def test_what_needs_no_library_imports_none() -> None:
    """Nor httpx, which costs time at the start of every process."""
    modules = ("ai", "dev_server", "mocked", "realtime", "remote_state_middleware")
    program = (
        "import sys, inngest_encryption, inngest.connect\n"
        f"import {', '.join(f'inngest.experimental.{name}' for name in modules)}\n"
        "found = {'boto3', 'httpx', 'nacl', 'opentelemetry', 'sentry_sdk'} & {*sys.modules}\n"
        "print(*sorted(found))"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said.split() == []


def test_the_package_alone_imports_neither_of_its_slow_dependencies() -> None:
    program = "import sys, inngest; print(*sorted({'httpx', 'pydantic'} & {*sys.modules}))"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said.split() == []
