"""Which addresses an outgoing request may connect to. Source: design 7.

Names and spellings are not looked at: a name may resolve to anything, and an address may be written in many
ways. What counts is the address that a socket is about to connect to, and IPv4 addresses inside of IPv6 ones
count as themselves. So the check also holds after redirects and when a name changes between two look-ups.
"""

import socket
from collections.abc import Callable, Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # Most clouds.
        "169.254.170.2",  # Amazon ECS.
        "169.254.170.23",  # Amazon EKS.
        "169.254.0.23",  # Tencent.
        "100.100.100.200",  # Alibaba.
        "168.63.129.16",  # Azure, the host of a virtual machine.
        "192.0.0.192",  # Oracle, classic.
        "fd00:ec2::254",  # Amazon EC2.
        "fd00:ec2::23",  # Amazon EKS.
        "fd20:ce::254",  # Google.
        "fe80::a9fe:a9fe",  # OpenStack.
    )
)
"""Services that give a machine's credentials to whoever asks from it."""

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ip_network("::/96")

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As `getaddrinfo` gives them."""


class Reach(Enum):
    """How far requests may go, from the widest to the narrowest."""

    OPERATOR = "operator"
    """Where the operator sends them, or who has the operator's key: anywhere but to metadata services."""
    LOCAL = "local"
    """Not to link-local addresses either."""
    PUBLIC = "public"
    """Only to addresses of the public internet: not to this machine, nor to private networks."""


class AddressRefusedError(OSError):
    """The address lies outside of what the request may reach.

    The message lacks the address, so that to who tries several of them, each refused, they are one error.
    """

    code = "address_refused"


def check_reach(address: str, reach: Reach) -> None:
    """Return if a request of that reach may connect to an IP address, which may have a zone (`fe80::1%eth0`).

    Raises:
        AddressRefusedError: it may not.
    """
    for ip in _meanings(ip_address(address.partition("%")[0])):
        what = _refusal(ip, reach)
        if what is not None:
            raise AddressRefusedError(f"the host's address is {what}")


def guarded_sockets(reach: Reach) -> Callable[[AddrInfo], socket.socket]:
    """A factory of sockets for an address about to be connected to, which refuses those out of reach."""

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        check_reach(address[0], reach)
        return socket.socket(family, kind, protocol)

    return make


def _meanings(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, and the IPv4 address that a network may make of it."""
    yield ip
    if isinstance(ip, IPv4Address):
        return
    if ip.ipv4_mapped is not None:
        yield ip.ipv4_mapped
    elif ip.sixtofour is not None:
        yield ip.sixtofour
    elif ip.teredo is not None:
        yield ip.teredo[1]
    elif any(ip in network for network in (*_NAT64, _COMPATIBLE)) and int(ip) > 1:
        yield IPv4Address(int(ip) & 0xFFFF_FFFF)


def _refusal(ip: IPv4Address | IPv6Address, reach: Reach) -> str | None:
    if ip in METADATA:
        return "that of a metadata service, where no request is sent"
    if reach is Reach.OPERATOR:
        return None
    if ip.is_link_local:
        return "link-local, where no request is sent"
    if reach is Reach.LOCAL or _is_translated(ip):
        return None
    if ip.is_global and not ip.is_multicast:
        return None
    return (
        "this machine itself, or in a private or reserved network; start the server with "
        "--allow-private-gateway if steps may send requests there"
    )


def _is_translated(ip: IPv4Address | IPv6Address) -> bool:
    """Whether only the IPv4 address inside counts: such a network is no private one."""
    return isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip in _NAT64[0])
