"""Which IP addresses are of the Internet, where anybody may be asked, rather than of the user's own network.

Python's `ipaddress` knows most of this, and differently from version to version. So what is not public is listed here
as well (after IANA's registries of special-purpose addresses), and an IPv6 address that leads to an IPv4 address is
judged by that one too: a gateway or a tunnel takes a packet there.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NOT_PUBLIC = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for this machine
        "10.0.0.0/8",  # private networks
        "100.64.0.0/10",  # a provider's own network
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # the host of a virtual machine at Azure, though its number is a public one
        "169.254.0.0/16",  # this link; clouds give a machine's passwords at 169.254.169.254
        "172.16.0.0/12",  # private networks
        "192.0.0.0/24",  # protocols; a cloud's host is at 192.0.0.192
        "192.0.2.0/24",  # for documents
        "192.88.99.0/24",  # relays of 6to4, which are no more
        "192.168.0.0/16",  # private networks
        "198.18.0.0/15",  # for benchmarks
        "198.51.100.0/24",  # for documents
        "203.0.113.0/24",  # for documents
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # kept for later, and broadcast
    )
)

# The part of IPv6 from which addresses are given out, and what in it is not public. All else is: this machine (::1),
# links (fe80::/10), sites (fec0::/10, fc00::/7), multicast (ff00::/8), 100::/64 and 5f00::/16.
_GIVEN_OUT = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols
        "2001:db8::/32",  # for documents
        "3fff::/20",  # for documents
    )
)

# IPv6 addresses whose last 32 bits are an IPv4 address, and which mean that one: mapped and compatible (RFC 4291),
# translated (RFC 2765), and of a gateway (RFC 6052). Where in 64:ff9b:1::/48 (RFC 8215) it lies, each network decides
# for itself, so no address there is public.
_STAND_FOR = tuple(map(IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))

_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")

# The third quarter of an ISATAP address (RFC 5214); two bits of its first byte may be either.
_ISATAP = 0x00005EFE
_ISATAP_MASK = 0xFCFFFFFF


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet: not of this machine, a private network or a special purpose.

    A zone (`fe80::1%eth0`) is of no account.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, IPv4Address):
        return _is_public(ip)
    if any(ip in network for network in _STAND_FOR):
        return _is_public(_part(ip, 96))
    if ip in _TEREDO:  # its server, and a client behind it
        return _is_public(_part(ip, 32)) and _is_public(IPv4Address(int(_part(ip, 96)) ^ 0xFFFFFFFF))
    if ip in _SIX_TO_FOUR:
        return _is_public(_part(ip, 16)) and _passes_isatap(ip)
    return ip.is_global and ip in _GIVEN_OUT and not any(ip in one for one in _NOT_PUBLIC_6) and _passes_isatap(ip)


def _is_public(ip: IPv4Address) -> bool:
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


def _passes_isatap(ip: IPv6Address) -> bool:
    """Whether an address is not one that ISATAP makes of an IPv4 address that is not public."""
    return int(_part(ip, 64)) & _ISATAP_MASK != _ISATAP or _is_public(_part(ip, 96))


def _part(ip: IPv6Address, start: int) -> IPv4Address:
    """The 32 bits from bit `start` on, as an IPv4 address."""
    return IPv4Address(int(ip) >> (96 - start) & 0xFFFFFFFF)
