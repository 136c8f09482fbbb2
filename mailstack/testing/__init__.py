"""Fakes of everything in `mailstack.ports`, for tests that need no reactor, file or clock.

    connection = MemoryConnection()
    done = Deferred.fromCoroutine(SmtpSession(connection, resources, settings).run())
    connection.feed(b"NOOP\\r\\n")
    assert connection.take() == b"..."

Import from the modules (`mailstack.testing.connection`, `.store`, `.accounts`, `.outbound`, `.log`,
`.clock`, `.counters`): this package itself imports nothing.
"""
