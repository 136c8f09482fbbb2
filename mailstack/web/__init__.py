"""HTTP for programs and people, beside the mail protocols. `server` speaks it, `api/` has a file for each resource."""
