"""The base commands of IMAP4rev1 and IMAP4rev2, by what they are for."""
