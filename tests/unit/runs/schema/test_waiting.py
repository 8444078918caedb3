"""What of the things that a database's server says no waiting mends."""

from __future__ import annotations

import pytest

from banana_delivery.runs.schema.waiting import is_refused


@pytest.mark.parametrize(
    "says",
    [
        'FATAL: password authentication failed for user "dagster"',
        "fe_sendauth: no password supplied",
        'FATAL: no pg_hba.conf entry for host "10.0.0.7", user "dagster", database "dagster", no encryption',
        'FATAL: role "dagster" does not exist',
        'FATAL: database "dagster" does not exist',
        'FATAL: role "dagster" is not permitted to log in',
        'FATAL: permission denied for database "dagster"',
        # PgBouncer's.
        "FATAL: SASL authentication failed",
        "FATAL: no such user: dagster",
        "FATAL: no such database: dagster",
        # TLS.
        "server does not support SSL, but SSL was required",
        'root certificate file "/run/ca.pem" does not exist',
        "SSL error: certificate verify failed",
        'server certificate for "db" does not match host name "10.0.0.7"',
    ],
)
def test_who_is_not_known_or_trusts_nobody_is_not_let_in_by_waiting(says: str) -> None:
    assert is_refused(f"Dagster's database dagster on db:5432 cannot be asked: {says}")


@pytest.mark.parametrize(
    "says",
    [
        "Connection refused",
        "No route to host",
        "timeout expired",
        'could not translate host name "db" to address: Temporary failure in name resolution',
        "FATAL: the database system is starting up",
        "FATAL: sorry, too many clients already",
        "FATAL: terminating connection due to administrator command",
        "SSL SYSCALL error: EOF detected",
        # Between two of the steps that make its tables.
        'relation "jobs" does not exist',
        "server closed the connection unexpectedly",
        # PgBouncer's, whose server is away.
        "FATAL: server login has been failing, try again later (server_login_retry)",
    ],
)
def test_who_is_away_or_busy_comes_back(says: str) -> None:
    assert not is_refused(f"Dagster's database dagster on db:5432 cannot be asked: {says}")
