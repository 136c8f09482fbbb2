"""Mail that is not delivered here: `incoming.py` takes responsibility for it, durably."""
