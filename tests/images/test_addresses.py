"""Which addresses are of the Internet, and which are refused, however they are written."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.base.errors import SourceError
from mmsearch.images.addresses import is_public
from mmsearch.images.fetch import Limits, fetch

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "99.255.255.255", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.1", "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
    "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255", "223.255.255.254",
]  # fmt: skip

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.1.2.3", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.8.8.8", "168.63.129.16", "169.254.0.0", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.0", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.254", "255.255.255.255",
]  # fmt: skip

OTHERS = [
    "::", "::1", "100::1", "100:0:0:1::1", "200::1", "1fff::1", "4000::1", "5f00::1", "64:ff9b:1::1",
    "64:ff9b:1::808:808", "64:ff9b:1:808:8:800::", "64:ff9b:2::1", "2001::1", "2001:1::1", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1", "3fff::1", "3fff:fff::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "febf::1%1", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "ffff::1",
]  # fmt: skip


@pytest.mark.parametrize("address", [*PUBLIC, "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450::1", "2001:200::1"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", [*PRIVATE, *OTHERS])
def test_not_public(address: str) -> None:
    assert not is_public(address)


def embedded(inner: str) -> list[str]:
    """The IPv6 addresses that lead to an IPv4 address."""
    number = int(ipaddress.IPv4Address(inner))
    hidden = number ^ 0xFFFFFFFF
    other = 0x08080808
    made = [
        number,  # compatible
        (0xFFFF << 32) | number,  # mapped
        (0xFFFF << 48) | number,  # translated
        (0x64FF9B << 96) | number,
        (0x2002 << 112) | (number << 80) | 1,
        (0x20010000 << 96) | (other << 64) | hidden,
        (0x20010000 << 96) | (number << 64) | (other ^ 0xFFFFFFFF),
        *(0x2606_2800_0220_0001 << 64 | form << 32 | number for form in (0x5EFE, 0x02005EFE, 0x01005EFE, 0x03005EFE)),
    ]
    return [str(ipaddress.IPv6Address(one)) for one in made]


@pytest.mark.parametrize("inner", PRIVATE)
def test_an_address_that_leads_to_a_private_one_is_private(inner: str) -> None:
    assert [address for address in embedded(inner) if is_public(address)] == []


@pytest.mark.parametrize("inner", PUBLIC)
def test_an_address_that_leads_to_a_public_one_is_public(inner: str) -> None:
    assert [address for address in embedded(inner) if not is_public(address)] == []


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_as_private(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(ip, ipaddress.IPv4Address):
        assert not is_public(str(ip)) or (ip.is_global and not ip.is_multicast)
        assert all(is_public(address) is is_public(str(ip)) for address in embedded(str(ip)))
    elif is_public(str(ip)):
        assert not (ip.is_private and ip.ipv4_mapped is None) and not ip.is_multicast and not ip.is_site_local


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1.",
        "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "ⓛocalhost", "0",
        "0.0.0.0", "0.0.0.0.",
        "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "[fe80::1%25lo]", "[fec0::1]", "[2606:2800:220:1:0:5efe:127.0.0.1]", "192.0.0.192",
        "3221225664", "169.254.169.254", "2852039166", "0xa9fea9fe", "255.255.255.255", "224.0.0.1",
    ],
)  # fmt: skip
def test_hosts_are_judged_by_what_they_resolve_to(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system makes of a host, none of these is ever connected to."""

    def connect(*_: object, **__: object) -> socket.socket:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(SourceError) as error:
        fetch(f"http://{host}/a.jpg", limits=Limits(seconds=20))
    assert "--allow-private-urls" in str(error.value) or "unknown" in str(error.value), error.value
