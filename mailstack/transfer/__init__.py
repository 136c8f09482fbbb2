"""Mail moving in from, and out to, anything: Maildirs, mbox files, .eml files, archives of them, IMAP servers."""
