"""Which addresses a request may connect to, however they are spelled and wherever they come from."""

import socket
from typing import Any

import pytest

from inngest_server.execution.reach import METADATA, AddressRefusedError, Reach, check_reach
from inngest_server.execution.transport import HTTPTransport, TransportError
from tests.unit.execution.test_transport import echo, redirecting, serving

PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
PRIVATE = (
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:a00:1::",
    "fc00::1",
    "ff02::1",
)
LINK_LOCAL = ("169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1", "64:ff9b::a9fe:101")
METADATA_SPELLINGS = (
    *map(str, METADATA),
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::a9fe:a9fe%eth0",
)


def may_reach(address: str) -> list[Reach]:
    def is_allowed(reach: Reach) -> bool:
        try:
            check_reach(address, reach)
        except AddressRefusedError:
            return False
        return True

    return [reach for reach in Reach if is_allowed(reach)]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open_to_all(address: str) -> None:
    assert may_reach(address) == [Reach.OPERATOR, Reach.LOCAL, Reach.PUBLIC]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert may_reach(address) == [Reach.OPERATOR, Reach.LOCAL]


@pytest.mark.parametrize("address", LINK_LOCAL)
def test_link_local_addresses_are_for_the_operator_alone(address: str) -> None:
    assert may_reach(address) == [Reach.OPERATOR]


@pytest.mark.parametrize("address", METADATA_SPELLINGS)
def test_metadata_services_are_for_nobody(address: str) -> None:
    assert may_reach(address) == []


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(AddressRefusedError, match="start the server with --allow-private-gateway"):
        check_reach("10.0.0.1", Reach.PUBLIC)
    with pytest.raises(AddressRefusedError, match="a metadata service, where no request is sent"):
        check_reach("169.254.169.254", Reach.OPERATOR)


# What a transport connects to.


async def failure_of(transport: HTTPTransport, url: str) -> TransportError:
    try:
        with pytest.raises(TransportError) as caught:
            await transport.fetch("GET", url, {}, b"", timeout_s=5.0, body_bytes_max=1000)
        return caught.value
    finally:
        await transport.close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "[::ffff:7f00:1]"],
)
async def test_no_spelling_of_this_machine_is_reached(host: str) -> None:
    error = await failure_of(HTTPTransport(Reach.PUBLIC, Reach.PUBLIC), f"http://{host}:9/")
    assert error.kind == "out_of_reach"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"]
)
@pytest.mark.parametrize("reach", Reach)
async def test_no_spelling_of_a_metadata_service_is_reached(host: str, reach: Reach) -> None:
    assert (await failure_of(HTTPTransport(reach, reach), f"http://{host}/latest")).kind == "out_of_reach"


def name_leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]

    def resolved(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.mark.parametrize(
    "addresses", [("169.254.169.254",), ("10.0.0.1", "::1"), ("fd00:ec2::254", "fe80::1")]
)
async def test_a_name_counts_as_what_it_leads_to(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    transport = HTTPTransport(Reach.PUBLIC, Reach.PUBLIC)
    name_leads_to(monkeypatch, *addresses)
    error = await failure_of(transport, "http://innocent.example/")
    assert error.kind in ("out_of_reach", "other")
    assert "where no request is sent" in error.detail or "--allow-private-gateway" in error.detail


async def test_what_a_redirect_leads_to_is_checked_as_well() -> None:
    async with serving(redirecting(302, "http://169.254.1.1/")) as url:
        transport = HTTPTransport()
        error = await failure_of(transport, f"{url}/start")
    assert (error.kind, error.detail) == (
        "out_of_reach",
        "the host's address is link-local, where no request is sent",
    )


async def test_a_connection_that_is_kept_gives_a_redirect_no_more_reach() -> None:
    """The first request may reach this machine, and the redirect to the same address may not."""
    async with serving(echo) as there, serving(redirecting(302, f"{there}/x")) as here:
        transport = HTTPTransport(Reach.LOCAL, redirects=Reach.PUBLIC)
        await transport.fetch("GET", f"{there}/x", {}, b"", timeout_s=5.0, body_bytes_max=10_000)
        assert (await failure_of(transport, f"{here}/start")).kind == "out_of_reach"


async def test_a_call_to_an_app_is_redirected_to_no_link_local_address() -> None:
    transport = HTTPTransport()
    async with serving(redirecting(308, "http://169.254.1.1/")) as url:
        with pytest.raises(TransportError, match="out_of_reach"):
            await transport.send("POST", f"{url}/start", {}, b"", timeout_s=5.0, body_bytes_max=1000)
    await transport.close()
