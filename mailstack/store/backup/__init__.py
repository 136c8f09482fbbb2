"""Copies of a store, made and put back while it is served.

places.py   where backups lie, which of them are complete
folder.py   one mailbox into a backup
make.py     a whole backup
verify.py   whether a backup is whole
restore.py  back into a store
"""
