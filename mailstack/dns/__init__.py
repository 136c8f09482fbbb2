"""DNS as mail needs it: a stub resolver (RFC 1034 §5.3.1) that asks recursive servers and remembers what they say.

`resolver` implements `ports.Resolver`; `asking` brings one question to the servers; `exchange` has the sockets; the
others are pure. Formats are dnspython's, all else is our own (docs/adr/0005-asking-dns.md).
"""
