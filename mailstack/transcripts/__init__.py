"""Dialogues as text: written while they are spoken, and played again to a server or a client. The format is that of
`tests/scripts/README.md`. Standard library only, but for what a session of ours writes."""
