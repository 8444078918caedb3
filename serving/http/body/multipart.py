"""Picks the images out of a multipart/form-data body, in memory.

Starlette's own form parser spools large parts to disk, which a container with a read-only root does not have.
"""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.errors import invalid_request, quoted, unsupported_media

MAX_PARTS = 1000


class _Collector:
    """Callbacks of the parser: keeps the parts whose field name is wanted."""

    def __init__(self, wanted: str) -> None:
        self.found: list[bytes] = []
        self.names: list[str] = []
        self.is_whole = False
        self._wanted = wanted
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._data: list[bytes] = []

    def on_part_begin(self) -> None:
        if len(self.names) == MAX_PARTS:
            raise FormParserError(f"more than {MAX_PARTS} parts")
        self._name = ""
        self._data = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._wanted:
            self._data.append(data[start:end])

    def on_part_end(self) -> None:
        self.names.append(self._name)
        if self._name == self._wanted:
            self.found.append(b"".join(self._data))

    def on_end(self) -> None:
        self.is_whole = True


CALLBACKS = tuple(name for name in vars(_Collector) if name.startswith("on_"))


def images_in(body: bytes, content_type: str, field: str) -> list[bytes]:
    """Returns the contents of every part named `field`, in order, at least one.

    Raises:
        RequestError: 415 if the body is not multipart/form-data, 422 if it is broken, has no such part, or others.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise unsupported_media(f"Send the image as multipart/form-data with a boundary, in a field named {field!r}.")
    collector = _Collector(field)
    callbacks = {name: getattr(collector, name) for name in CALLBACKS}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise invalid_request(f"The multipart body is broken: {error}") from None
    if not collector.is_whole:
        raise invalid_request("The multipart body is broken: it ends before its last boundary.")
    if not collector.found:
        got = ", ".join(map(quoted, collector.names[:5])) or "nothing"
        raise invalid_request(f"The form has no field named {field!r}; it has {got}.")
    others = [name for name in collector.names if name != field]
    if others:
        raise invalid_request(
            f"The form may not have a field named {quoted(others[0])}; parameters stand in the address, as in "
            "?confidence=0.25."
        )
    return collector.found
