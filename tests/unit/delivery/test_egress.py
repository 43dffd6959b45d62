"""The egress guard's decision: which addresses requests may go to, and why not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.config.settings import Egress, Trust
from bridge.delivery.egress import EgressError, Guard, kind, parts

PLAIN = Guard()

ADDRESSES = [
    ("8.8.8.8", "public", "both"),
    ("2606:4700::1111", "public", "both"),
    ("127.0.0.1", "loopback", "operator"),
    ("127.255.255.254", "loopback", "operator"),
    ("::1", "loopback", "operator"),
    ("10.0.0.1", "private", "operator"),
    ("172.16.0.1", "private", "operator"),
    ("172.31.255.255", "private", "operator"),
    ("172.32.0.0", "public", "both"),
    ("192.168.178.20", "private", "operator"),
    ("100.64.0.1", "private", "operator"),
    ("100.127.255.255", "private", "operator"),
    ("100.128.0.0", "public", "both"),
    ("fc00::1", "private", "operator"),
    ("fd12:3456::1", "private", "operator"),
    ("fec0::1", "private", "operator"),
    ("192.0.2.1", "reserved", "operator"),
    ("198.18.0.1", "reserved", "operator"),
    ("198.51.100.1", "reserved", "operator"),
    ("203.0.113.1", "reserved", "operator"),
    ("240.0.0.1", "reserved", "operator"),
    ("2001:db8::1", "reserved", "operator"),
    ("100::1", "reserved", "operator"),
    ("4000::1", "reserved", "operator"),
    ("169.254.169.254", "link-local", "nobody"),
    ("169.254.0.1", "link-local", "nobody"),
    ("169.255.0.1", "public", "both"),
    ("fe80::1", "link-local", "nobody"),
    ("febf::1", "link-local", "nobody"),
    ("fe80::1%eth0", "link-local", "nobody"),
    ("224.0.0.1", "multicast", "nobody"),
    ("239.255.255.255", "multicast", "nobody"),
    ("ff02::1", "multicast", "nobody"),
    ("0.0.0.0", "unspecified", "nobody"),
    ("0.1.2.3", "unspecified", "nobody"),
    ("::", "unspecified", "nobody"),
    ("255.255.255.255", "broadcast", "nobody"),
    ("fd00:ec2::254", "metadata", "nobody"),
    ("fd20:ce::254", "metadata", "nobody"),
    ("100.100.100.200", "metadata", "nobody"),
    ("168.63.129.16", "metadata", "nobody"),
]


@pytest.mark.parametrize(("address", "what", "who"), ADDRESSES)
def test_who_may_go_where(address: str, what: str, who: str) -> None:
    assert kind(ip_address(address)) == what
    assert (PLAIN.refusal(address, "operator") is None) is (who in ("both", "operator"))
    assert (PLAIN.refusal(address, "tenant") is None) is (who == "both")


# The embedded forms of one IPv4 address, given as its number.
FORMS = {
    "mapped": lambda n: IPv6Address(0xFFFF << 32 | n),
    "translated": lambda n: IPv6Address(0xFFFF << 48 | n),
    "nat64": lambda n: IPv6Address(0x0064FF9B << 96 | n),
    "6to4": lambda n: IPv6Address(0x2002 << 112 | n << 80 | 1),
    "teredo": lambda n: IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | n ^ 0xFFFFFFFF),
    "teredo server": lambda n: IPv6Address(0x20010000 << 96 | n << 64 | 0x08080808 ^ 0xFFFFFFFF),
    "isatap": lambda n: IPv6Address(0x20010470 << 96 | 0x00005EFE << 32 | n),
    "isatap global": lambda n: IPv6Address(0x20010470 << 96 | 0x02005EFE << 32 | n),
}


@pytest.mark.parametrize("form", FORMS)
@given(number=st.integers(0, 2**32 - 1), trust=st.sampled_from(["operator", "tenant"]))
@example(number=int(IPv4Address("169.254.169.254")), trust="operator")
@example(number=int(IPv4Address("127.0.0.1")), trust="tenant")
@example(number=int(IPv4Address("10.1.2.3")), trust="tenant")
@example(number=int(IPv4Address("8.8.8.8")), trust="tenant")
@example(number=0, trust="operator")
def test_an_embedded_address_is_judged_as_if_it_stood_alone(form: str, number: int, trust: Trust) -> None:
    alone = PLAIN.refusal(str(IPv4Address(number)), trust)
    embedded = PLAIN.refusal(str(FORMS[form](number)), trust)
    assert (alone is None) is (embedded is None)


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        ("::ffff:169.254.169.254", "169.254.169.254"),
        ("::ffff:a9fe:a9fe", "169.254.169.254"),
        ("::169.254.169.254", "169.254.169.254"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("64:ff9b:1::a9fe:a9fe", "169.254.169.254"),
        ("64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254"),  # RFC 6052 section 2.2, a /48
        ("2002:a9fe:a9fe::1", "169.254.169.254"),
        ("2001:0:a9fe:a9fe::f7f7:f7f7", "169.254.169.254"),
        ("2001:470::5efe:169.254.169.254", "169.254.169.254"),
        ("::5", "0.0.0.5"),
    ],
)
def test_metadata_has_no_back_door(address: str, carried: str) -> None:
    assert IPv4Address(carried) in list(parts(ip_address(address)))
    assert PLAIN.refusal(address, "tenant") is not None
    refusal = PLAIN.refusal(address, "operator")
    assert refusal is not None
    assert f"{address} stands for {carried}, which is " in refusal


def test_a_local_nat64_prefix_is_not_refused_for_bits_that_it_does_not_use() -> None:
    for address in ("64:ff9b:1::10.0.0.1", "64:ff9b:1:a00:0:100::"):
        assert PLAIN.refusal(address, "operator") is None
        assert PLAIN.refusal(address, "tenant") is not None


def test_allow_lifts_a_refusal_and_only_that() -> None:
    guard = Guard(Egress(allow=("169.254.10.0/24", "192.168.1.5", "fe80::/10", "127.0.0.0/8")))
    for address, operator, tenant in (
        ("169.254.10.7", True, True),
        ("169.254.169.254", False, False),
        ("192.168.1.5", True, True),
        ("192.168.1.6", True, False),
        ("fe80::1%2", True, True),
        ("127.0.0.1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("::1", True, False),
        ("8.8.8.8", True, True),
    ):
        assert (guard.refusal(address, "operator") is None) is operator, address
        assert (guard.refusal(address, "tenant") is None) is tenant, address


def test_to_allow_a_tunnel_does_not_allow_what_it_leads_to() -> None:
    guard = Guard(Egress(allow=("64:ff9b::/96", "2002::/16")))
    assert guard.refusal("64:ff9b::a9fe:a9fe") is not None
    assert guard.refusal("2002:7f00:1::1", "tenant") is not None


def test_deny_is_stronger_than_allow() -> None:
    guard = Guard(Egress(allow=("10.0.0.0/8",), deny=("10.1.0.0/16", "8.8.8.0/24", "::1", "2002::/16")))
    assert guard.refusal("10.2.0.1", "tenant") is None
    assert guard.refusal("10.1.0.1") == "10.1.0.1 is in egress.deny (10.1.0.0/16)"
    assert guard.refusal("8.8.8.8") is not None
    assert guard.refusal("::1") is not None
    assert guard.refusal("2002:909:909::1") is not None
    mapped = guard.refusal("::ffff:10.1.0.1")
    assert mapped == "::ffff:10.1.0.1 stands for 10.1.0.1, which is in egress.deny (10.1.0.0/16)"


def test_everything_can_be_denied() -> None:
    guard = Guard(Egress(deny=("0.0.0.0/0", "::/0")))
    for address, _, _ in ADDRESSES:
        assert guard.refusal(address) is not None
    assert Guard(Egress(deny=("::ffff:0:0/96",))).refusal("8.8.8.8") is not None  # all IPv4, mapped


def test_a_refusal_says_what_the_address_is_and_what_would_lift_it() -> None:
    assert PLAIN.refusal("169.254.169.254") == (
        "169.254.169.254 is link-local (cloud metadata): refused unless egress.allow has it"
    )
    assert PLAIN.refusal("127.0.0.1", "tenant") == (
        "127.0.0.1 is loopback: refused to this endpoint unless egress.allow has it"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/33", "expected a network"),
        ("office", "expected a network"),
        ("", "expected a network"),
        ("10.0.0.5/8", "expected 10.0.0.0/8"),
        ("fd00::1/8", "expected fd00::/8"),
    ],
)
def test_an_entry_that_is_no_network_is_told(text: str, expected: str) -> None:
    for key in ("allow", "deny"):
        with pytest.raises(EgressError) as caught:
            Guard(Egress(**{key: ("10.0.0.0/8", text)}))
        assert str(caught.value).startswith(f"egress.{key}[1]: found {text!r}, ")
        assert expected in str(caught.value)


def test_what_is_no_numeric_address_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="not appear"):
        PLAIN.refusal("example.com")
