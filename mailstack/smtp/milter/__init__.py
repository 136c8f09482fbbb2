"""Filters beside the server that see its mail, refuse it and change it, by the milter protocol (`wire/milter.py`).

`milters.py` is what a session has of them, `conversation.py` one connection to one, `message.py` and `envelope.py`
what they change. An SMTP session asks them through `checks/milters.py` and at the end of mail data."""
