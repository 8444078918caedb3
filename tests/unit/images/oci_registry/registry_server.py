"""A registry in memory that speaks HTTP, counts what it is asked, and may have the habits of real ones.

As real ones do, it takes uploads piece by piece, links blobs of its other repositories, and refuses a manifest whose
blobs are not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, MANIFEST_TYPES
from banana_delivery.names import KEY_LABEL, VERSION_LABEL


@dataclass
class Answer:
    """An HTTP answer. ``length``: what it says of its size, if that is not the truth."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False


@dataclass
class RegistryServer:
    """One repository, `acme/banana` unless it is said otherwise.

    Attributes:
        host: where it is.
        manifests: by digest.
        tags: digest by tag.
        blobs: by digest.
        asked: requests by method and kind.
        authorizations: what came as a login, in order.
        habit: given method, path and the usual answer, says what it answers instead.
        page: how many tags a page of the list has.
        link: given the path of the next page, says how the list links to it.
        upload_host: where it wants blobs sent, as the beginning of an address; empty: where they are asked for.
        path: its name.
        others: the registry's other repositories.
        links: whether it takes blobs over from them.
        uploads: what came of uploads that are not done yet, by name.
        largest: bytes that a request may bring.
        breaks: after how many further bytes of uploads the connection is lost, once.
    """

    host: str = ""
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    authorizations: list[str] = field(default_factory=list)
    habit: Callable[[str, str, Answer], Answer] = lambda _method, _path, usual: usual
    page: int = 1000
    link: Callable[[str], str] = lambda path: path
    upload_host: str = ""
    path: str = "acme/banana"
    others: list[RegistryServer] = field(default_factory=list)
    links: bool = True
    uploads: dict[str, bytearray] = field(default_factory=dict)
    largest: int = 2**30
    breaks: int | None = None

    @property
    def prefix(self) -> str:
        return f"/v2/{self.path}/"

    def repository_of(self, url: str) -> RegistryServer:
        return next((other for other in self.others if url.startswith(other.prefix)), self)

    def put_image(self, version: str, created: str, *tags: str, foreign: bool = False) -> str:
        """Add an image of one layer, and return its digest."""
        key = hashlib.sha256(version.encode()).hexdigest()
        labels = {} if foreign else {KEY_LABEL: key, VERSION_LABEL: version}
        config = {"created": created, "config": {"Labels": labels}, "rootfs": {"diff_ids": []}}
        layer = f"layer of {version}".encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPES[0],
            "config": self._descriptor(json.dumps(config).encode()),
            "layers": [self._descriptor(layer)],
        }
        body = json.dumps(manifest).encode()
        self.manifests[digest(body)] = body
        names = (*tags, *(() if foreign else (f"key-{key[:32]}",)))
        self.tags.update(dict.fromkeys(names, digest(body)))
        return digest(body)

    def answer(self, method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        path = urlsplit(url).path.removeprefix(self.prefix)
        kind, _, name = path.partition("/")
        self.asked[f"{method} {kind}"] += 1
        self.authorizations.append(headers.get("Authorization", ""))
        if kind == "tags":
            usual = self._list(url)
        elif kind == "blobs":
            sent = name.startswith("uploads/")
            usual = self._upload(method, url, headers, content) if sent else self._blob(name)
        else:
            usual = self._manifest(method, name, content)
            type_ = usual.headers.get("Content-Type", "")
            usual = Answer(404) if type_ in INDEX_TYPES and type_ not in headers.get("Accept", "") else usual
        return self.habit(method, path, usual)

    def _descriptor(self, content: bytes) -> dict[str, object]:
        self.blobs[digest(content)] = content
        return {"digest": digest(content), "size": len(content), "mediaType": "application/octet-stream"}

    def _blob(self, name: str) -> Answer:
        return Answer(200, self.blobs[name]) if name in self.blobs else Answer(404)

    def _upload(self, method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        query, name = parse_qs(urlsplit(url).query), urlsplit(url).path.rpartition("/")[2]
        if method == "POST":
            return self._begin(query)
        if name not in self.uploads or query["_state"] != ["a+b="]:
            return Answer(404)
        if len(content) > self.largest:
            return Answer(413)
        came = self.uploads[name]
        start = headers.get("Content-Range", f"{len(came)}-").partition("-")[0]
        if start != str(len(came)):
            return Answer(416)
        if self.breaks is not None and self.breaks < len(content):
            came += content[: self.breaks]
            self.breaks = None
            raise ConnectionResetError
        self.breaks = self.breaks and self.breaks - len(content)
        came += content
        if method != "PUT":
            where = {"Location": self._place(name), "Range": f"0-{max(len(came) - 1, 0)}"}
            return Answer(204 if method == "GET" else 202, headers=where)
        if query["digest"] != [digest(bytes(came))]:
            return Answer(400)
        self.blobs[digest(bytes(came))] = bytes(self.uploads.pop(name))
        return Answer(201)

    def _begin(self, query: dict[str, list[str]]) -> Answer:
        for other in self.others if self.links else ():
            if query.get("from") == [other.path] and query["mount"][0] in other.blobs:
                self.blobs[query["mount"][0]] = other.blobs[query["mount"][0]]
                return Answer(201)
        name = str(self.asked["POST blobs"])
        self.uploads[name] = bytearray()
        return Answer(202, headers={"Location": self._place(name)})

    def _place(self, name: str) -> str:
        return f"{self.upload_host}{self.prefix}blobs/uploads/{name}?_state=a%2Bb%3D"

    def _list(self, url: str) -> Answer:
        query = parse_qs(urlsplit(url).query)
        names = sorted(name for name in self.tags if name > query.get("last", [""])[0])
        shown, rest = names[: self.page], names[self.page :]
        following = f"{self.prefix}tags/list?last={shown[-1]}&n={self.page}" if rest else ""
        headers = {"Link": f'<{self.link(following)}>; rel="next"'} if rest else {}
        return Answer(200, json.dumps({"name": self.path, "tags": shown}).encode(), headers)

    def _manifest(self, method: str, name: str, content: bytes) -> Answer:
        if method == "PUT":
            document = json.loads(content)
            parts = [document["config"], *document["layers"]] if "layers" in document else []
            if any(part["digest"] not in self.blobs for part in parts):
                return Answer(400, b"blob unknown")
            self.manifests[digest(content)] = content
            if name != digest(content):
                self.tags[name] = digest(content)
            return Answer(201, headers={"Docker-Content-Digest": digest(content)})
        found = name if name in self.manifests else self.tags.get(name, "")
        if found not in self.manifests:
            return Answer(404)
        if method == "DELETE":
            del self.manifests[found]
            self.tags = {tag: its for tag, its in self.tags.items() if its != found}
            return Answer(202)
        said = json.loads(self.manifests[found])
        kind = said.get("mediaType", MANIFEST_TYPES[0]) if isinstance(said, dict) else MANIFEST_TYPES[0]
        return Answer(200, self.manifests[found], {"Docker-Content-Digest": found, "Content-Type": kind})


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def serving(registry: RegistryServer) -> Iterator[RegistryServer]:
    """The registry on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # A body would wait 40 ms for its headers to be acknowledged.

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with contextlib.suppress(ConnectionResetError):
                one = registry.repository_of(self.path)
                self.send(one.answer(self.command, self.path, dict(self.headers), content))
                return
            self.close_connection = True

        do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def send(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            length = {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(len(answer.body))}
            for name, value in {**length, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if not answer.chunked:
                self.wfile.write(answer.body)
                return
            for start in range(0, len(answer.body), 7):
                piece = answer.body[start : start + 7]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """What was asked is in ``asked``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        registry.host = f"127.0.0.1:{server.server_port}"
        yield registry
        server.shutdown()
