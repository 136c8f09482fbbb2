"""The store: one Maildir an account, shared by all sessions of the process and with other programs.

api.py      implements ports.MailStore and ports.AccountStore
mailbox.py  an open mailbox, shared by its sessions
hub.py      which mailboxes are open here
workers.py  the only threads
spool.py    messages on their way in
octets.py   messages on their way out
maildir/    what lies on disk; blocking code without threads, events or a reactor
"""
