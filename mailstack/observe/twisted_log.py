"""What Twisted itself reports, as lines of our log."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import provider

from mailstack.ports import Log


def capture(log: Log) -> None:
    """Send Twisted's warnings and unhandled failures to `log`; its chatter is dropped. Standard
    output and error stay what they are. Call once a process."""

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        failure = event.get("log_failure")
        if failure is not None:
            log.warning("unhandled failure", what=formatEvent(event), failure=failure.getTraceback())
        elif level >= LogLevel.warn:
            log.warning("twisted", what=formatEvent(event))

    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
