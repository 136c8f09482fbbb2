"""Certificates by ACME (RFC 8555): gotten, kept, renewed, without anybody's hand.

times.py        when to renew, when to try again
keeping.py      one look: is anything due, who does it, what came of it
authority.py    the conversation with the authority, by the package `acme`, which is optional
challenges.py   what the authority is to see of us, as files that every process can answer from
state.py        what is on disk in data/acme

Everything here blocks; `app/certification.py` gives it a thread.
"""
