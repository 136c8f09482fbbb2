"""Octets and values of POP3, without IO."""
