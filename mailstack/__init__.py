"""mailstack: a whole mail system in one process over one store of plain Maildirs."""

__version__ = "0.1.0"
