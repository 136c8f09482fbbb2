"""MTA-STS for sending (RFC 8461), with real servers, DNS and HTTPS on loopback."""

from __future__ import annotations

import pytest
import trustme
from carrier_world import DOMAIN, POLICY, World
from hop_peers import NET, in_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mailstack.net import https
from mailstack.relay import sts
from mailstack.relay.tls_database import StoredPolicy
from mailstack.testing.zones import Fault

MX, MX2 = f"mx.{DOMAIN}", f"mx2.{DOMAIN}"


def both(world: World) -> tuple[trustme.LeafCert, trustme.LeafCert]:
    return world.authority.issue_cert(MX), world.authority.issue_cert(MX2)


@in_reactor
async def test_hosts_that_an_enforced_policy_does_not_allow_get_no_mail(world: World) -> None:
    world.serve(*both(world))
    asked = world.publish(POLICY.format(mode="enforce", mx=MX2))
    world.say("one")
    assert await world.reached() == (MX2, "verified")
    assert f"{MX} is a mail exchanger of {DOMAIN}, but its MTA-STS policy does not allow it" in world.transcript.text
    assert b"GET /.well-known/mta-sts.txt HTTP/1.1" in b"".join(asked.heard)
    world.dns.zones[DOMAIN] = {"MX": [(10, MX)]}
    status, text = await world.reached()
    assert status == "4.7.5" and "does not allow it" in text
    assert len(asked.heard) == 1, "the policy is remembered"
    assert await world.summary() == [
        ("sts", DOMAIN, "", "", 1),
        ("sts", DOMAIN, "validation-failure", MX, 2),
    ]


@in_reactor
async def test_a_wrong_certificate_keeps_the_mail(world: World) -> None:
    world.serve(world.authority.issue_cert("other.example"))
    world.publish(POLICY.format(mode="enforce", mx=f"*.{DOMAIN}"))
    world.say("one")
    status, text = await world.reached()
    assert status == "4.7.5" and "is for other.example" in text
    assert [row[2:] for row in await world.summary()] == [
        ("certificate-host-mismatch", MX, 1), ("certificate-host-mismatch", MX2, 1)
    ]  # fmt: skip
    world.outbound = {"tls": "none"}
    assert (await world.reached())[0] == "4.7.5", "what the configuration wants is less than what the domain does"


@in_reactor
async def test_a_server_without_tls_gets_nothing(world: World) -> None:
    world.serve()
    world.publish(POLICY.format(mode="enforce", mx=f"*.{DOMAIN}"))
    world.say("one")
    assert (await world.reached())[0] == "4.7.4"
    assert {row[2] for row in await world.summary()} == {"starttls-not-supported"}


@pytest.mark.usefixtures("on_disk")
@in_reactor
@pytest.mark.parametrize("loss", ["no record", "two records", "SERVFAIL", "no host"])
async def test_a_policy_outlives_its_record_and_a_restart(world: World, loss: str) -> None:
    world.serve(world.authority.issue_cert("other.example"))
    world.publish(POLICY.format(mode="enforce", mx=f"*.{DOMAIN}"))
    world.say("one")
    assert (await world.reached())[0] == "4.7.5"
    record = f"_mta-sts.{DOMAIN}"
    if loss == "no record":
        world.say("")
    elif loss == "two records":
        world.dns.zones[record] = {"TXT": ["v=STSv1; id=a", "v=STSv1; id=b"]}
    elif loss == "SERVFAIL":
        world.dns.zones[record] = Fault.SERVFAIL
    else:
        world.say("two")
        world.dns.zones[f"mta-sts.{DOMAIN}"] = {"TXT": "no address"}
    await world.restart()
    assert (await world.reached())[0] == "4.7.5", "whoever takes the record away does not take the policy with it"
    world.time += 86401
    assert await world.reached() == (MX, "unverified"), "its time is over"


@in_reactor
async def test_another_id_fetches_another_policy(world: World) -> None:
    world.serve(*both(world))
    world.publish(POLICY.format(mode="enforce", mx="elsewhere.example"))
    world.say("one")
    assert (await world.reached())[0] == "4.7.5"
    world.publish(POLICY.format(mode="none", mx=MX))
    assert (await world.reached())[0] == "4.7.5", "the id is the same"
    world.say("two")
    assert await world.reached() == (MX, "verified")


@in_reactor
async def test_testing_counts_and_delivers(world: World) -> None:
    world.serve(world.authority.issue_cert(MX2))
    world.publish(POLICY.format(mode="testing", mx=MX))
    world.say("one")
    assert await world.reached() == (MX, "unverified")
    world.dns.zones[DOMAIN] = {"MX": [(10, MX2)]}
    assert await world.reached() == (MX2, "verified")
    found = await world.counts()
    assert [(c.session.failure, c.session.host, c.session.address) for c in found] == [
        ("certificate-host-mismatch", MX, "127.0.0.1"), ("validation-failure", MX2, "127.0.0.1")
    ]  # fmt: skip
    assert found[0].session.policy.splitlines()[:3] == ["version: STSv1", "mode: testing", f"mx: {MX}"]
    assert "is for mx2.example.net, not for mx.example.net" in found[0].reason


@in_reactor
@pytest.mark.parametrize(
    ("head", "more", "text", "reason"),
    [
        ("301 Moved", f"Location: https://mta-sts.{DOMAIN}/", "", "expected HTTP status 200, not 301"),
        ("404 Not Found", "", "", "not 404"),
        ("200 OK", "Content-Type: text/html", POLICY, "expected text/plain, not text/html"),
        ("200 OK", "X: y", POLICY, "expected text/plain, not no type"),
        ("200 OK", "Content-Type: text/plain; charset=utf-8", "mode: enforce", "version: STSv1"),
        ("200 OK", "", "x" * 70_000, "65536 octets"),
        (
            "200 OK",
            "Content-Type: text/plain" + "\r\nX: yyyyyyyyyyyyyyyyyyyy" * 5_000,
            POLICY,
            "cannot be asked by HTTPS",
        ),
    ],
)
async def test_policies_that_are_none(world: World, head: str, more: str, text: str, reason: str) -> None:
    world.serve(*both(world))
    asked = world.publish(text.replace("{mode}", "enforce").replace("{mx}", "elsewhere.example"), None, head, more)
    world.say("one")
    assert await world.reached() == await world.reached() == (MX, "verified")
    [line] = [line for line in world.log.lines if line.what == "MTA-STS policy not fetched"]
    assert reason in str(line.fields["reason"]), line
    once = len(asked.heard)
    world.time += sts.RETRY_AFTER
    assert await world.reached() == (MX, "verified")
    assert len(asked.heard) > once, "it is tried again, after some minutes"
    kind = "sts-policy-invalid" if "STSv1" in reason else "sts-policy-fetch-error"
    assert ("sts", DOMAIN, kind, "", 2) in await world.summary()


@in_reactor
async def test_a_policy_host_with_a_wrong_certificate(world: World) -> None:
    world.serve(*both(world))
    asked = world.publish(POLICY.format(mode="enforce", mx="elsewhere.example"), world.authority.issue_cert(DOMAIN))
    world.say("one")
    assert await world.reached() == (MX, "verified")
    assert not asked.heard
    assert ("sts", DOMAIN, "sts-webpki-invalid", "", 1) in await world.summary()


@in_reactor
@pytest.mark.parametrize("end", ["close", "chunks", "never"])
async def test_ends_of_a_policy(world: World, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(*both(world))
    text, more = POLICY.format(mode="enforce", mx=MX2), "Content-Type: Text/Plain;charset=utf-8"
    if end == "chunks":
        text, more = f"{len(text):x}\r\n{text}\r\n0\r\n\r\n", more + "\r\nTransfer-Encoding: chunked"
    elif end == "never":
        monkeypatch.setattr(https, "FETCH_TIME", 0.2)
        text, more = "", more + "\r\nTransfer-Encoding: chunked"
    world.publish(text, more=more, close=end == "close" or "chunked" in more)
    if "chunked" in more:
        world.rig.ports[-1].factory.wrappedFactory.close = False
    world.say("one")
    assert await world.reached() == (MX if end == "never" else MX2, "verified")
    if end == "never":
        [line] = [line for line in world.log.lines if line.what == "MTA-STS policy not fetched"]
        assert "has not answered in" in str(line.fields["reason"])


class SlowTexts:
    """Implements `https.Texts`: comes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    async def text(self, host: str, path: str, port: int, authorities: str) -> bytes:
        self.asked.append(Deferred())
        return await self.asked[-1]


@in_reactor
async def test_mail_does_not_wait_long_and_a_policy_is_fetched_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts, "WAIT_TIME", 0.05)
    texts = world.policies._texts = SlowTexts()
    world.say("one")
    first = Deferred.fromCoroutine(world.policies.policy(DOMAIN))
    assert await world.policies.policy(DOMAIN) is None and await first is None
    assert len(texts.asked) == 1
    texts.asked[0].callback(POLICY.format(mode="enforce", mx=MX).encode())
    policy = await world.policies.policy(DOMAIN)
    assert policy is not None and policy.enforced and policy.patterns == (MX,)
    # A day later it is fetched again, and mail does not wait for that.
    world.time += 43_300
    assert await world.policies.policy(DOMAIN) == policy and len(texts.asked) == 2
    assert await world.policies.policy(DOMAIN) == policy and len(texts.asked) == 2
    texts.asked[1].callback(POLICY.format(mode="enforce", mx=MX2).encode())
    renewed = await world.policies.policy(DOMAIN)
    assert renewed is not None and renewed.patterns == (MX2,)
    # Nobody sends mail there, and it does not expire all the same.
    world.time += 43_300
    await world.policies._look()
    while len(texts.asked) < 3:
        await deferLater(NET, 0.005)
    # Until nobody has sent any for a month.
    world.database.put_policy(StoredPolicy("other.example", "1", world.time, world.time + 90 * 86400, "x"))
    refreshed = world.database.to_refresh
    assert refreshed(world.time + 86401, 86400, world.time - 1, 9) == ["other.example"]
    assert not refreshed(world.time + 86401, 86400, world.time + 1, 9)
    world.database.use_policy("other.example", world.time + 2)
    assert refreshed(world.time + 86401, 86400, world.time + 1, 9) == ["other.example"]
    # Who only looks sees what is remembered.
    assert await sts.Remembered(world.database, world.now).policy(DOMAIN) == renewed
    assert await sts.Remembered(world.database, lambda: world.time + 86401).policy(DOMAIN) is None
    nothing = sts.remembered(world.directory / "gone.sqlite3", world.now)
    assert await nothing.policy(DOMAIN) is None and not (world.directory / "gone.sqlite3").exists()
    # When the server stops, nobody goes on.
    world.policies.stop()
    assert texts.asked[2].called and not world.policies._work
    assert await world.policies.policy(DOMAIN) == renewed


@pytest.mark.usefixtures("on_disk")
@in_reactor
async def test_a_database_that_cannot_be_used_costs_no_mail(world: World) -> None:
    world.serve(*both(world))
    world.publish(POLICY.format(mode="enforce", mx=MX))
    world.say("one")
    world.database.close()
    assert await world.reached() == (MX, "verified")
    assert "MTA-STS policies cannot be read or written" in world.log.whats("warning")
    await world.restart()
    world.policies.settings = sts.StsSettings(1, "", enabled=False)
    before = world.dns.asked(f"_mta-sts.{DOMAIN}")
    assert await world.policies.policy(DOMAIN) is None and world.dns.asked(f"_mta-sts.{DOMAIN}") == before
