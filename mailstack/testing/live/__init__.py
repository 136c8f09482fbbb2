"""A real server for the tests of programs that send or read mail; its users import it from `mailstack.testing`."""
