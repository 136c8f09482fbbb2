"""One file an extension, named after the RFC that added it; several are part of IMAP4rev2 now."""
