"""W&B servers on this machine: one that falls silent, and one that takes whole runs."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BUCKET = {
    "id": "run",
    "name": "run",
    "displayName": "run",
    "config": "{}",
    "historyLineCount": 0,
    "project": {"id": "project", "name": "project", "entity": {"id": "me", "name": "me"}},
}
_ANSWERS: dict[str, dict[str, Any]] = {
    "viewer {": {"viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}"}},
    "query ServerFeatures": {"serverInfo": {"features": []}},
    "query ArtifactType": {"project": None},
    "mutation UpsertBucket": {"upsertBucket": {"bucket": _BUCKET, "inserted": True}},
}


@contextmanager
def server_that_falls_silent() -> Iterator[str]:
    """Accept whatever comes while the block lasts, and answer only what asks who and what is there.

    A run must be called "run", as there is one alone.

    Yields:
        The address, for ``WANDB_BASE_URL``.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answers = [answer for query, answer in _ANSWERS.items() if query in body]
            if not answers:
                over.wait()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": answers[0]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing on standard error."""

    try:
        with _serving(Handler) as address:
            yield address
    finally:
        over.set()


@dataclass(kw_only=True)
class Taken:
    """A server's address, and what has been sent to it.

    Attributes:
        address: For ``WANDB_BASE_URL``.
        runs: What ``wandb sync`` said of each run before it sent the rest: its variables.
        artifacts: Content of each file of an artifact, by the artifact's name and the file's.
        files: Content of each file of a run, such as ``wandb-summary.json``.
        history: Lines of all runs' history, in their order.
    """

    address: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def server_that_takes_all() -> Iterator[Taken]:
    """Take whole runs and their artifacts while the block lasts; runs and projects have one name.

    Yields:
        What has been taken so far.
    """
    taken = Taken()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            _, kind, name = self.path.split("/", 2)
            kept = {"artifact": taken.artifacts, "files": taken.files}.get(kind)
            content = self._content()
            if kept is not None:
                kept[name] = content
            self._answer({})

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            content = json.loads(self._content() or b"{}")
            if self.path == "/graphql":
                self._answer(
                    {"data": self._of_query(content["query"], content.get("variables") or {})}
                )
                return
            sent = (content.get("files") or {}).get("wandb-history.jsonl", {}).get("content", [])
            taken.history.extend(json.loads(line) for line in sent)
            self._answer({})

        def _of_query(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
            """Answer a query or mutation as W&B would."""
            match = re.search(r"(?:query|mutation)\s+(\w+)", query)
            name, given = match[1] if match else "", variables.get("input", {})
            if name == "UpsertBucket":
                taken.runs.append(variables)
                bucket = _BUCKET | {"name": variables.get("name") or _BUCKET["name"]}
                return {"upsertBucket": {"bucket": bucket, "inserted": True}}
            if name == "CreateArtifact":  # an artifact's identifier is its name
                new = {"id": given["artifactCollectionName"], "state": "PENDING"}
                new["artifactSequence"] = {"latestArtifact": None}
                return {"createArtifact": {"artifact": new}}
            if name in ("CreateArtifactManifest", "UpdateArtifactManifest"):
                file = {"uploadUrl": f"{taken.address}/manifest/m", "uploadHeaders": []}
                return {
                    f"{name[0].lower()}{name[1:]}": {"artifactManifest": {"id": "m", "file": file}}
                }
            if name == "CreateArtifactFiles":
                edges = [{"node": self._upload(file)} for file in given["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            if name == "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
            if name == "CreateRunFiles":
                files = [
                    {"name": each, "uploadUrl": f"{taken.address}/files/{each}"}
                    for each in variables["files"]
                ]
                found = {"runID": "run", "uploadHeaders": [], "files": files}
                return {"createRunFiles": found}
            return next((each for said, each in _ANSWERS.items() if said in query), {})

        def _upload(self, file: dict[str, Any]) -> dict[str, Any]:
            """Say where a file of an artifact goes."""
            of = file["artifactID"]
            return {
                "storagePath": file["name"],
                "uploadUrl": f"{taken.address}/artifact/{of}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": of},
            }

        def _content(self) -> bytes:
            """Read the whole request."""
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, content: dict[str, Any]) -> None:
            """Send JSON."""
            answer = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing on standard error."""

    with _serving(Handler) as taken.address:
        yield taken


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve while the block lasts, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
