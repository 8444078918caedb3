"""The pages' connections to the instance's database: looked at before they are used.

The pages keep some open, one for each kind of thing that is stored. All of them end when the database is started again,
and each would first be noticed by somebody whose question fails, be it minutes later.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import Pool


def look_before_use() -> None:
    """From now on a connection that does not answer is made anew, and with it those that are as old."""
    event.listen(Pool, "checkout", _look)


def _look(connection: Any, *_: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1")
    except Exception as error:
        raise InvalidatePoolError("The database has ended this connection.") from error
    finally:
        cursor.close()
