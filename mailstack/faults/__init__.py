"""Faults on demand, for programs that are developed against the development mode: a server that refuses, waits, breaks
off or talks nonsense exactly where it is told to. Only that mode is composed with it (`app/services.py`)."""
