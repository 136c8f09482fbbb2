"""The network membrane: the only place that knows sockets, TLS and Twisted protocols."""
