"""Faults by HTTP, and the fixture's client of it."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Iterator

import pytest
from api_client import ApiClient
from server_process import Server

from mailstack.testing.faults import CannotSetFault, Faults


@pytest.fixture
def faults(running: Server, api: ApiClient) -> Iterator[Faults]:
    faults = Faults.by_http(f"http://{running.host('http')}:{running.port('http')}")
    yield faults
    faults.clear()


def smtp(running: Server, helo: str = "client.example") -> smtplib.SMTP:
    return smtplib.SMTP(running.host("smtp"), running.port("smtp"), local_hostname=helo, timeout=10)


def test_a_fault_lasts_as_long_as_its_block(running: Server, faults: Faults) -> None:
    with smtp(running) as client:
        client.ehlo()
        with faults.smtp("MAIL", 452) as fault:
            assert [client.mail("a@example.net")[0] for _ in range(2)] == [452, 452]
            assert fault.hits == 2
        assert client.mail("a@example.net")[0] == 250 and fault.hits == 2
    assert faults.listed() == []


def test_two_clients_at_once_share_the_times_of_a_fault(running: Server, faults: Faults) -> None:
    faults.smtp("NOOP", 450, times=7, helo="counted.example")
    codes: list[int] = []

    def client(helo: str) -> None:
        with smtp(running, helo) as session:
            session.ehlo()
            codes.extend(session.noop()[0] for _ in range(10))

    helos = ("counted.example", "counted.example", "free.example")
    threads = [threading.Thread(target=client, args=(helo,)) for helo in helos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(codes) == [250] * 23 + [450] * 7


def test_it_is_set_listed_and_removed(api: ApiClient) -> None:
    made = api.post("faults", {"protocol": "imap", "preset": "slow-login", "seconds": 2}, status=201)["faults"]
    assert [(each["at"], each["delay"]) for each in made] == [("LOGIN", 2.0), ("AUTHENTICATE", 2.0)]
    first = made[0]["id"]
    assert api.ask("GET", f"/api/v1/faults/{first}").json == made[0]
    assert api.ask("DELETE", f"/api/v1/faults/{first}").json == made[0]
    assert api.ask("DELETE", f"/api/v1/faults/{first}").status == 404
    assert api.ask("GET", "/api/v1/faults").json == {"faults": made[1:]}
    api.post("reset", status=200)
    assert api.ask("GET", "/api/v1/faults").json == {"faults": []}


def test_what_cannot_be_is_a_problem(api: ApiClient, faults: Faults) -> None:
    problem = api.post("faults", {"protocol": "smtp", "at": "RCTP", "reply": 452}, status=400)
    assert problem["type"] == "urn:mailstack:problem:bad-fault" and "expected a stage of smtp" in problem["detail"]
    with pytest.raises(CannotSetFault, match="expected a stage of smtp"):
        faults.smtp("RCTP", 452)


def test_what_the_api_itself_submits_meets_faults(api: ApiClient) -> None:
    message = {"from": "a@example.net", "to": ["b@example.org"], "subject": "x", "text": "x"}
    api.post("faults", {"protocol": "smtp", "at": "MESSAGE", "reply": "554 5.6.0 No", "times": 1}, status=201)
    assert "554 5.6.0 No" in api.post("messages", message, status=422)["replies"][0]
    for at in ("CONNECT", "EHLO", "RCPT", "BDAT"):
        api.post("faults", {"protocol": "smtp", "at": at, "drop": "reset", "times": 1}, status=201)
        assert api.post("messages", message, status=422)["replies"]
    api.post("messages", message, status=201)
