"""A W&B server on the loopback: just enough of its protocol to take a run, and to refuse or die on demand."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "project", "name": "latentbench", "entity": {"id": "entity", "name": "someone"}}


def answer(operation: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What the GraphQL operation returns."""
    if operation == "Viewer":
        return {"viewer": {"id": "viewer", "username": "someone", "entity": "someone", "flags": "{}"}}
    if operation == "UpsertBucket":
        names = {"name": variables["name"], "displayName": variables.get("displayName")}
        return {"upsertBucket": {"bucket": {"id": "bucket", "project": PROJECT} | names, "inserted": True}}
    if operation == "CreateRunFiles":
        return {"createRunFiles": {"runID": "bucket", "uploadHeaders": [], "files": []}}
    return {}


class WandbServer(ThreadingHTTPServer):
    """Keeps what clients send: GraphQL operations with their variables, and the rows of every file."""

    daemon_threads = True

    def __init__(self, *, refuse: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse = refuse
        self.requests = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.exit_codes: list[int | None] = []
        self.streamed: dict[str, list[dict[str, Any]]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = json.loads(body) if self.headers["Content-Type"] == "application/json" else {}
        if self.server.refuse:
            return self._answer(401, {"errors": [{"message": "user is not logged in"}]})
        if self.path.endswith("/file_stream"):
            self.server.exit_codes.append(content.get("exitcode"))
            for file, chunk in (content.get("files") or {}).items():
                self.server.streamed.setdefault(file, []).extend(json.loads(row) for row in chunk["content"])
        if self.path != "/graphql":
            return self._answer(200, {})
        operation, variables = content["operationName"], content.get("variables") or {}
        self.server.asked.append((operation, variables))
        return self._answer(200, {"data": answer(operation, variables)})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
