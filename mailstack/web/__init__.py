"""HTTP for programs and people, beside the mail protocols: `site` carries resources of several parts on one port of a
server; `server` speaks HTTP for the development mode, `api/` has a file for each of its resources."""
