"""A Hugging Face Hub on the loopback: enough of its protocol to make a repository, take a commit and give files."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback_server import LoopbackServer

COMMIT = "c" * 40


class HubServer(LoopbackServer):
    """Keeps the files of every repository."""

    def __init__(self, *, token: str) -> None:
        self.token = token
        self.repositories: dict[str, dict[str, bytes]] = {}
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_POST(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_refused():
            return None
        match self.path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                new = json.loads(body)
                repo = f"{new['organization']}/{new['name']}"
                self.server.repositories.setdefault(repo, {})
                return self._json({"url": f"{self.server.url}/{repo}"})
            case ["api", "models", _, _, "preupload", "main"]:
                fate = {"uploadMode": "regular", "shouldIgnore": False}
                return self._json({"files": [fate | {"path": file["path"]} for file in json.loads(body)["files"]]})
            case ["api", "models", owner, name, "commit", "main"]:
                lines = [json.loads(line) for line in body.splitlines()]
                sent = [line["value"] for line in lines if line["key"] == "file"]
                files = {file["path"]: base64.b64decode(file["content"]) for file in sent}
                self.server.repositories[f"{owner}/{name}"] |= files
                return self._json(
                    {"commitUrl": f"{self.server.url}/{owner}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
                )
        return self._json({})

    def do_GET(self) -> None:
        self.server.requests += 1
        if self._is_refused():
            return None
        owner, name, _, _, path = self.path.strip("/").split("/", 4)
        files = self.server.repositories.get(f"{owner}/{name}")
        if files is None:
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        if path not in files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(files[path]).hexdigest()}"'}
        return self._answer(200, files[path], headers)

    do_HEAD = do_GET  # noqa: N815

    def _is_refused(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {self.server.token}":
            return False
        self._answer(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        return True

    def _json(self, content: dict[str, Any]) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
