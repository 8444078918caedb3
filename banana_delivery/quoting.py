"""Text from outside, quoted for the place it lands in: one function a place, and all of them here.

Versions, partitions, tags, class names, reasons and whatever a checkpoint or a server says were written by strangers.
To quote twice does no harm but where it says so, and plain text stays as it is.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from urllib.parse import quote

from banana_delivery.names import PROMQL_INFO

MOST_IN_LINE = 2000
"""Characters of one stranger's text in a table, a message or on the terminal; the whole of it is in the record."""
MOST_IN_NAME = 120
"""Bytes of a part of a path; file systems take 255, of which something is left for what stands around it."""
CITED = 80
CUT = "…"
INDENT = "    "


def visible(text: str) -> str:
    r"""Whatever cannot be seen, or turns text around, by its number; a tabulator as a space.

    >>> visible("red \x1b[31m, \u202eback, zero\u200bwidth")
    'red \\x1b[31m, \\u202eback, zero\\u200bwidth'
    """
    return "".join(one if one.isprintable() or one == " " else _shown(one) for one in text)


def _shown(one: str) -> str:
    if one == "\t" or unicodedata.category(one) == "Zs":
        return " "
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(text: str, most: int = MOST_IN_LINE) -> str:
    """All of it in one line of visible characters, cut where it is too long."""
    # Cut before as well: nobody looks at every character of megabytes.
    seen = visible(" ".join(text[: 4 * most].split()))
    return seen if len(seen) <= most else seen[: most - len(CUT)] + CUT


def cited(text: str) -> str:
    """A stranger's words within a sentence of ours, told from it by quotes that they cannot end.

    Not to be quoted twice.
    """
    return f"'{one_line(text, CITED).replace(chr(39), '’')}'"


def in_path(text: str) -> str:
    """As one part of a path: never a folder above, never hidden, never too long, and different for different text.

    >>> in_path("../../etc/passwd")
    '%2E.%2F..%2Fetc%2Fpasswd'
    """
    quoted = quote(text, safe="", errors="surrogatepass")
    if not quoted:
        return "%"
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"
    if len(quoted) <= MOST_IN_NAME:
        return quoted
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{quoted[: MOST_IN_NAME - 33]}-{digest}"


def in_html(text: str) -> str:
    """Within an element or a quoted attribute. Not to be quoted twice."""
    return html.escape(visible(text))


def in_link(address: str) -> str:
    """As the address of a link, in a quoted attribute; one that is not on the web leads nowhere."""
    return in_html(address) if address.startswith(("http://", "https://")) else "#"


def in_markdown(text: str) -> str:
    """In a line of GitHub's markdown, or a cell of its tables, with whatever HTML a page lets through.

    Addresses are shown as code: nothing else keeps them from becoming links. Not to be quoted twice.
    """
    words = [_code(one) if _ADDRESS.search(one) else _MARKS.sub(_unmarked, one) for one in one_line(text).split(" ")]
    return _BEGINS_BLOCK.sub(r"\1\\\2", " ".join(words))


_ADDRESS = re.compile(r"://|www\.|\w@\w", re.IGNORECASE)
_MARKS = re.compile(r"[\\`*|\[\]<~]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])")
_BEGINS_BLOCK = re.compile(r"^(\d{0,9})([#+.)-](?=[-# ]|$)|[>=])")


def _unmarked(mark: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(mark[0], f"\\{mark[0]}")


def _code(word: str) -> str:
    return f"`{word.replace('`', '’').replace('|', chr(92) + '|')}`"


def in_plot(text: str, most: int = CITED) -> str:
    """In a picture; what looks like a formula is none. Not to be quoted twice."""
    return one_line(text, most).replace("$", r"\$")


def in_notice(text: str) -> str:
    """In a line of a message to people: nobody is called by it, and nothing in it becomes a link with another name.

    >>> in_notice("@everyone <!channel> [free](https://evil.example)")
    '@ everyone ‹!channel› [free] (https://evil.example)'
    """
    seen = one_line(text).translate(_NO_TAGS).replace("](", "] (").replace("![", "! [")
    return _CALL.sub("@ ", seen)


_NO_TAGS = str.maketrans("<>", "‹›")
_CALL = re.compile(r"(?<!\w)@(?=\w)")


def in_terminal(text: str) -> str:
    """Where rich prints: no colours, no links and no moves of the cursor but ours. Not to be quoted twice."""
    from rich.markup import escape

    return escape(one_line(text))


def in_ci_log(text: str) -> str:
    """As a line of the log of a CI server, some of which take orders that begin a line, or stand anywhere in it.

    >>> in_ci_log("::add-path::/tmp ##[set-env name=A]b")
    ': :add-path::/tmp # #[set-env name=A]b'
    """
    line = one_line(text).replace("##[", "# #[")
    return f": {line[1:]}" if line.startswith("::") else line


def in_log(text: str) -> str:
    """In a log: lines after the first one are indented, so that none of them looks like another message."""
    first, *more = text.split("\n")
    return "\n".join([visible(first), *(f"{INDENT}{visible(line).removeprefix(INDENT)}" for line in more)])


def promql_warnings(said: object) -> str:
    """What a Prometheus warns of beside its answer; empty if of nothing that an answer could lack.

    >>> promql_warnings(["PromQL info: metric might not be a counter", "a store is away", "another is"])
    'a store is away, another is'
    """
    warnings = said if isinstance(said, list) else [said] if said else []
    return ", ".join(str(one) for one in warnings if not str(one).startswith(PROMQL_INFO))


def in_promql(text: str, *, pattern: bool) -> str:
    """Within double quotes of a query to Prometheus. Not to be quoted twice.

    Args:
        text: what is to be found.
        pattern: whether the quotes hold a regular expression.
    """
    wanted = _PATTERN.sub(r"\\\g<0>", text) if pattern else text
    return wanted.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


_PATTERN = re.compile(r"[\\.+*?()|\[\]{}^$]")
