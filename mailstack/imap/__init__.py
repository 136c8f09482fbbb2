"""IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051), the server's side.

wire/        octets and values, without IO
session.py   one connection
view.py      the selected mailbox as this client knows it: the only place with sequence numbers
registry.py  all commands and capabilities, in one tuple
core/        the base commands, by what they are for
ext/         one file an extension, named by its RFC
fetch.py     search.py   what FETCH and SEARCH say of one message
replies.py   Problem → NO with its response code
"""
