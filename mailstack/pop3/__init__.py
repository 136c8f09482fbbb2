"""POP3 (RFC 1939), the server's side.

wire/        lines in, commands out; dot-stuffing
session.py   one connection: states, login
core.py      the commands that every server has
ext/         one file a capability (RFC 2449), with its commands
registry.py  what a command and a capability are
maildrop.py  INBOX as it was at login
sending.py   RETR and TOP: messages on their way out
replies.py   Problem → -ERR
"""
