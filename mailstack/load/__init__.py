"""Load for mail servers: many connections that do the same thing again and again, and how long it took each time."""
