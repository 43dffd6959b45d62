"""Access rules: a table, and a plain reference that looks at every topic there is in a small world."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.broker.auth_acl import Acl, first
from bridge.broker.client import Client
from bridge.config.settings import AclRule, AclWho
from bridge.mqtt.topics import matches


def client(clientid: str = "c", username: str | None = "u", host: str = "10.0.0.7") -> Client:
    peer = f"[{host}]:5" if ":" in host else f"{host}:5"
    return Client(clientid=clientid, username=username, peername=peer)


def rule(permit: str = "allow", action: str = "pubsub", *topics: str, **who: object) -> AclRule:
    return AclRule(permit=permit, action=action, topics=topics, **who)  # type: ignore[arg-type]


def decide(rules: Iterable[AclRule], who: Client, action: str, topic: str) -> bool | None:
    found, index = Acl(rules).rules_for(who)
    verdict = first(found, action, topic)
    if action == "publish":
        assert index.first(topic) is verdict
    return verdict


A, D = True, False


@pytest.mark.parametrize(
    ("rules", "action", "topic", "verdict"),
    [
        # nothing matches, everything matches
        ([], "publish", "a", None),
        ([rule()], "publish", "a", A),
        ([rule("deny")], "subscribe", "#", D),
        # the first that matches
        ([rule("deny", "publish", "a"), rule()], "publish", "a", D),
        ([rule("allow", "publish", "a"), rule("deny")], "publish", "a", A),
        ([rule("allow", "publish", "a"), rule("deny")], "publish", "b", D),
        # actions
        ([rule("deny", "publish"), rule()], "subscribe", "a", A),
        ([rule("deny", "subscribe"), rule()], "publish", "a", A),
        # who
        ([rule("deny", username="u"), rule()], "publish", "a", D),
        ([rule("deny", username="v"), rule()], "publish", "a", A),
        ([rule("deny", clientid="c"), rule()], "publish", "a", D),
        ([rule("deny", clientid="C"), rule()], "publish", "a", A),
        ([rule("deny", username="u", clientid="x"), rule()], "publish", "a", A),
        ([rule("deny", username="u", clientid="c"), rule()], "publish", "a", D),
        ([rule("deny", ipaddr=("10.0.0.0/8",)), rule()], "publish", "a", D),
        ([rule("deny", ipaddr=("10.0.0.7/32",)), rule()], "publish", "a", D),
        ([rule("deny", ipaddr=("10.0.0.8/32", "::/0")), rule()], "publish", "a", A),
        ([rule("deny", all_of=(AclWho(username="u"), AclWho(clientid="c"))), rule()], "publish", "a", D),
        ([rule("deny", all_of=(AclWho(username="u"), AclWho(clientid="x"))), rule()], "publish", "a", A),
        ([rule("deny", any_of=(AclWho(username="x"), AclWho(clientid="c"))), rule()], "publish", "a", D),
        ([rule("deny", any_of=(AclWho(username="x"), AclWho(clientid="y"))), rule()], "publish", "a", A),
        ([rule("deny", username="u", any_of=(AclWho(clientid="y"),)), rule()], "publish", "a", A),
        # order, whatever index a rule is found by
        ([rule("allow", username="u"), rule("deny"), rule("allow", clientid="c")], "publish", "a", A),
        ([rule("deny"), rule("allow", username="u"), rule("allow", clientid="c")], "publish", "a", D),
        ([rule("allow", clientid="c"), rule("deny", username="u")], "publish", "a", A),
        # publishing
        ([rule("allow", "publish", "a/+")], "publish", "a/b", A),
        ([rule("allow", "publish", "a/+")], "publish", "a/b/c", None),
        ([rule("allow", "publish", "a/#")], "publish", "a", A),
        ([rule("allow", "publish", "#")], "publish", "$x/y", None),
        ([rule("deny", "publish", "#")], "publish", "$x/y", D),
        ([rule("allow", "publish", "$x/#")], "publish", "$x/y", A),
        # subscribing: what is allowed is what lies within the pattern
        ([rule("allow", "subscribe", "a/+")], "subscribe", "a/+", A),
        ([rule("allow", "subscribe", "a/+")], "subscribe", "a/b", A),
        ([rule("allow", "subscribe", "a/+")], "subscribe", "a/#", None),
        ([rule("allow", "subscribe", "a/+")], "subscribe", "+/+", None),
        ([rule("allow", "subscribe", "a/#")], "subscribe", "a/+/b/#", A),
        ([rule("allow", "subscribe", "a/#")], "subscribe", "#", None),
        ([rule("allow", "subscribe", "#")], "subscribe", "#", A),
        ([rule("allow", "subscribe", "#")], "subscribe", "$SYS/#", None),
        # and denied is what reaches into it
        ([rule("deny", "subscribe", "secret/#"), rule()], "subscribe", "secret/x", D),
        ([rule("deny", "subscribe", "secret/#"), rule()], "subscribe", "#", D),
        ([rule("deny", "subscribe", "secret/#"), rule()], "subscribe", "+/x", D),
        ([rule("deny", "subscribe", "secret/#"), rule()], "subscribe", "open/#", A),
        ([rule("deny", "subscribe", "secret"), rule()], "subscribe", "+", D),
        ([rule("deny", "subscribe", "$SYS/#"), rule()], "subscribe", "#", A),
        ([rule("deny", "subscribe", "$SYS/#"), rule()], "subscribe", "$SYS/brokers", D),
        ([rule("deny", "subscribe", "#"), rule()], "subscribe", "$SYS/brokers", D),
        # to the letter
        ([rule("deny", "subscribe", "@#"), rule()], "subscribe", "#", D),
        ([rule("deny", "subscribe", "@#"), rule()], "subscribe", "a", A),
        ([rule("deny", "subscribe", "@client/+/msg"), rule()], "subscribe", "client/+/msg", D),
        ([rule("deny", "subscribe", "@client/+/msg"), rule()], "subscribe", "client/123/msg", A),
        ([rule("allow", "publish", "@a/b")], "publish", "a/b", A),
        # placeholders
        ([rule("allow", "publish", "t/${clientid}/${username}")], "publish", "t/c/u", A),
        ([rule("allow", "publish", "t/${clientid}/${username}")], "publish", "t/u/c", None),
        ([rule("deny", "subscribe", "@${clientid}/${username}/#"), rule()], "subscribe", "c/u/#", D),
        ([rule("deny", "subscribe", "@${clientid}/${username}/#"), rule()], "subscribe", "c/u/x", A),
    ],
)  # fmt: skip
def test_table(rules: list[AclRule], action: str, topic: str, verdict: bool | None) -> None:
    assert decide(rules, client(), action, topic) is verdict


@pytest.mark.parametrize("name", ["+", "#", "a+", "+/#"])
def test_a_name_with_a_wildcard_opens_nothing(name: str) -> None:
    for who in (client(clientid=name), client(username=name)):
        for pattern in ("t/${clientid}", "t/${username}"):
            allowed = decide([rule("allow", "pubsub", pattern)], who, "publish", "t/other")
            assert allowed is None
            assert decide([rule("allow", "pubsub", pattern)], who, "subscribe", "t/#") is None
    assert decide([rule("deny", "publish", "t/${clientid}"), rule()], client("#"), "publish", "t/x") is False


def test_one_without_a_user_name() -> None:
    anonymous = client(username=None)
    assert decide([rule("deny", username="u"), rule()], anonymous, "publish", "a") is True
    assert decide([rule("allow", "publish", "a/${username}")], anonymous, "publish", "a/") is None
    assert decide([rule("allow", "publish", "a/${username}", "b")], anonymous, "publish", "b") is True


@pytest.mark.parametrize(
    ("host", "verdict"),
    [("10.1.2.3", D), ("::ffff:10.1.2.3", D), ("11.0.0.1", A), ("fd00::7", D), ("fe80::1%eth0", A), ("", A)],
)
def test_addresses(host: str, verdict: bool) -> None:
    rules = [rule("deny", ipaddr=("10.0.0.0/8", "fd00::/8")), rule()]
    assert decide(rules, client(host=host), "publish", "a") is verdict


# --- against a reference ------------------------------------------------------------------------------------

LEVELS = ("a", "b", "", "$s")
WORLD = ["/".join(levels) for n in (1, 2, 3, 4) for levels in itertools.product(LEVELS, repeat=n)]
"""Every topic name there is; longer than any filter below by one level at least."""
PATTERNS = st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=2).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"])])
) | st.just("#")


def wide(pattern: str, name: str) -> bool:
    """Whether the pattern matches, `$` or not."""
    return matches(f"x/{pattern}", f"x/{name}")


def reference(rules: list[AclRule], who: Client, action: str, topic: str) -> bool | None:
    """What the rules mean, with no regard to cost."""

    def meant(one: AclWho) -> bool:
        return (
            one.username in (None, who.username)
            and one.clientid in (None, who.clientid)
            and all(map(meant, one.all_of))
            and (not one.any_of or any(map(meant, one.any_of)))
        )

    def topics(one: AclRule) -> bool:
        if not one.topics:
            return True
        allow = one.permit == "allow"
        for text in one.topics:
            if text.startswith("@"):
                if text[1:] == topic:
                    return True
                continue
            match = matches if allow else wide
            if action == "publish":
                if match(text, topic):
                    return True
                continue
            got = [name for name in WORLD if matches(topic, name)]
            if (all if allow else any)(match(text, name) for name in got):
                return True
        return False

    for one in rules:
        if one.action in ("pubsub", action) and meant(one) and topics(one):
            return one.permit == "allow"
    return None


WHO = st.fixed_dictionaries(
    {}, optional={"username": st.sampled_from(["u", "v"]), "clientid": st.sampled_from(["c", "d"])}
)
SOMEBODY = st.builds(lambda given: AclWho(**given), WHO)
RULES = st.builds(
    lambda permit, action, topics, who, both, either: AclRule(
        permit=permit, action=action, topics=tuple(topics), all_of=tuple(both), any_of=tuple(either), **who
    ),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["publish", "subscribe", "pubsub"]),
    st.lists(PATTERNS | PATTERNS.map(lambda text: "@" + text), max_size=3),
    WHO,
    st.lists(SOMEBODY, max_size=2),
    st.lists(SOMEBODY, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(RULES, max_size=5), st.sampled_from(["u", "v", None]), st.sampled_from(["c", "d"]), st.data())
def test_the_reference_says_the_same(
    rules: list[AclRule], username: str | None, clientid: str, data: st.DataObject
) -> None:
    who = client(clientid, username)
    topic = data.draw(st.sampled_from(WORLD[:84]))
    assert decide(rules, who, "publish", topic) is reference(rules, who, "publish", topic)
    topic_filter = data.draw(PATTERNS)
    assert decide(rules, who, "subscribe", topic_filter) is reference(rules, who, "subscribe", topic_filter)


def test_many_rules_for_others_cost_a_client_nothing() -> None:
    acl = Acl([*(rule("allow", username=f"u{n}") for n in range(10_000)), rule("deny")])
    assert len(acl.rules_for(client(username="u77"))[0]) == 2
    assert len(acl.rules_for(client(username="nobody"))[0]) == 1
    assert acl.rules_for(client(username="x"))[1] is acl.rules_for(client("y", "z"))[1]
