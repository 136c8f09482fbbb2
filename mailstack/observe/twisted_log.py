"""What Twisted itself reports, as lines of our log."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import provider

from mailstack.ports import Log

NO_DESCRIPTOR = "EMFILE recovery: Closed socket from {address}"
"""What Twisted says, among its chatter, when it had to turn a connection away (accept(2), EMFILE)."""


def capture(log: Log) -> None:
    """Send Twisted's warnings and unhandled failures to `log`; its chatter is dropped. Standard
    output and error stay what they are. Call once a process."""

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        failure = event.get("log_failure")
        if failure is not None:
            log.warning("unhandled failure", what=formatEvent(event), failure=failure.getTraceback())
        elif event.get("log_format") == NO_DESCRIPTOR:
            log.warning("connection refused", peer=_host(event), reason="no file descriptor is left")
        elif level >= LogLevel.warn:
            log.warning("twisted", what=formatEvent(event))

    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def _host(event: LogEvent) -> str:
    address = event.get("address")
    return str(address[0] if isinstance(address, tuple) else address)
