"""What is kept of a dialogue."""

from __future__ import annotations

from mailstack.smtp.dialogue import MAX_BEFORE, MAX_LINE, MAX_LINES, Dialogue


def test_each_transaction_has_its_lines_and_those_before_the_first() -> None:
    dialogue = Dialogue()
    dialogue.server(b"220-one\r\n220 two\r\n")
    dialogue.client(b"auth plain AHNlY3JldA==")
    dialogue.client(b"AUTH LOGIN")
    before = ["S: 220-one", "S: 220 two", "C: auth plain ***", "C: AUTH LOGIN"]
    dialogue.client(b"MAIL FROM:<a>")
    dialogue.begin()
    dialogue.server(b"250 ok\r\n")
    first = dialogue.lines
    dialogue.data(7)
    dialogue.client(b"MAIL FROM:<b>")
    dialogue.begin()
    assert first == [
        *before,
        "C: MAIL FROM:<a>",
        "S: 250 ok",
        "C: (7 octets of mail data)",
    ]
    assert dialogue.lines == [*before, "C: MAIL FROM:<b>"]


def test_it_is_bounded() -> None:
    dialogue = Dialogue()
    for _ in range(1000):
        dialogue.client(b"NOOP " + b"x" * 1000)
    assert len(dialogue.lines) == MAX_LINES
    assert len(dialogue.lines[0]) == MAX_LINE + 3
    dialogue.begin()
    assert len(dialogue.lines) == MAX_BEFORE + 1
