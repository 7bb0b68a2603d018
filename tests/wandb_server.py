"""A W&B server on the loopback: enough of its protocol to take runs, to list them, and to refuse or die on demand."""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback_server import LoopbackServer

PROJECT = {"id": "project", "name": "latentbench", "entity": {"id": "entity", "name": "someone"}}


def answer(operation: str, variables: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the GraphQL operation returns; `runs` are all by their id, and a new one is added."""
    if operation == "Viewer":
        return {"viewer": {"id": "viewer", "username": "someone", "entity": "someone", "flags": "{}"}}
    if operation == "GetDefaultEntity":
        return {"viewer": {"id": "viewer", "entity": "someone"}}
    if operation == "Runs":
        if (variables["entity"], variables["project"]) != (PROJECT["entity"]["name"], PROJECT["name"]):
            return {"project": None}
        wanted = json.loads(variables["filters"])
        edges = [{"node": run, "cursor": run["name"]} for run in runs.values() if wanted.items() <= run.items()]
        # two pages, whatever size is asked for
        half = len(edges) // 2
        after = variables.get("cursor")
        page = edges[:half] if half and after is None else edges[half:]
        info = {"endCursor": page[-1]["cursor"] if page else None, "hasNextPage": page != edges[half:]}
        return {"project": {"internalId": "1", "runCount": len(edges), "runs": {"edges": page, "pageInfo": info}}}
    if operation == "UpsertBucket":
        runs.setdefault(variables["name"], node(variables))
        names = {"name": variables["name"], "displayName": variables.get("displayName")}
        return {"upsertBucket": {"bucket": {"id": "bucket", "project": PROJECT} | names, "inserted": True}}
    if operation == "RunResumeStatus":
        run = runs.get(variables["name"])
        return {"model": PROJECT | {"bucket": run and resumed(run)}}
    if operation == "UpsertView2":
        return {"upsertView": {"view": {"id": "view", "name": variables["name"]}, "inserted": True}}
    if operation == "CreateRunFiles":
        return {"createRunFiles": {"runID": "bucket", "uploadHeaders": [], "files": []}}
    return {}


def node(variables: dict[str, Any]) -> dict[str, Any]:
    """A run as it is listed, from what it was opened with."""
    absent = ("tags", "sweepName", "commit", "description", "notes", "systemMetrics", "historyKeys", "summaryMetrics")
    return dict.fromkeys(absent) | {
        "id": variables["name"],
        "name": variables["name"],
        "displayName": variables.get("displayName"),
        "group": variables.get("groupName"),
        "jobType": variables.get("jobType"),
        "config": variables.get("config"),
        "state": "finished",
        "readOnly": False,
        "createdAt": "2026-01-01T00:00:00",
        "heartbeatAt": "2026-01-01T00:00:00",
        "historyLineCount": 0,
        "projectId": "1",
        "user": {"name": "someone", "username": "someone"},
    }


def resumed(run: dict[str, Any]) -> dict[str, Any]:
    """What a client that continues a run is told of it."""
    last = json.dumps({"_step": run["historyLineCount"] - 1, "_runtime": 1})
    kept = {key: run[key] for key in ("id", "name", "displayName", "summaryMetrics", "config", "historyLineCount")}
    absent = {"eventsLineCount": 0, "logLineCount": 0, "eventsTail": "[]", "tags": []}
    return kept | absent | {"historyTail": json.dumps([last]), "wandbConfig": json.dumps({"t": 1})}


class WandbServer(LoopbackServer):
    """Keeps what clients send: GraphQL operations with their variables, and the rows of every file."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.refuse = refuse
        self.dies_after: int | None = None  # requests
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.exit_codes: list[int | None] = []
        self.streamed: dict[str, list[dict[str, Any]]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = json.loads(body) if self.headers["Content-Type"] == "application/json" else {}
        if self.server.dies_after is not None and self.server.requests > self.server.dies_after:
            return self.connection.close()
        if self.server.refuse:
            return self._answer(401, {"errors": [{"message": "user is not logged in"}]})
        if self.path.endswith("/file_stream"):
            self.server.exit_codes.append(content.get("exitcode"))
            for file, chunk in (content.get("files") or {}).items():
                self.server.streamed.setdefault(file, []).extend(json.loads(row) for row in chunk["content"])
                if file == "wandb-history.jsonl":
                    run = self.server.runs[self.path.split("/")[-2]]
                    run["historyLineCount"] = chunk["offset"] + len(chunk["content"])
                if file == "wandb-summary.json":
                    self.server.runs[self.path.split("/")[-2]]["summaryMetrics"] = chunk["content"][-1]
        if self.path != "/graphql":
            return self._answer(200, {})
        # the client's own API names an operation in the query alone
        operation = content["operationName"] or re.search(r"(?:query|mutation)\s+(\w+)", content["query"])[1]
        variables = content.get("variables") or {}
        self.server.asked.append((operation, variables))
        return self._answer(200, {"data": answer(operation, variables, self.server.runs)})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
