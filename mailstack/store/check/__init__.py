"""What is wrong with the mail on disk, and mending it. Works beside a server that runs: by the locks on disk.

findings.py  what may be wrong, and what can be done about it
records.py   a uidlist, read as far as it can be
folder.py    one mailbox
account.py   what an account has besides mailboxes
cache.py     the account's index
data.py      what lies beside the accounts
repair.py    mending without losing anything
"""
