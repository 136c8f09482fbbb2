"""POP3 (RFC 1939), the server's side.

wire/        lines in, commands out; dot-stuffing
session.py   one connection: states, login, the maildrop
commands.py  the table of commands
replies.py   Problem → -ERR
"""
