"""The client of SMTP and LMTP: hands messages to other servers."""
