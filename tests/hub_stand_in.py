"""A stand-in for Hugging Face's hub on 127.0.0.1. It answers huggingface_hub's requests about files and commits."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

WRITER, READER = "hf_writer", "hf_reader"  # tokens


@dataclass
class Repository:
    private: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of each, the files as they are then

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = repr((len(self.commits), sorted(files.items()))).encode()
        oid = hashlib.sha1(content).hexdigest()
        self.commits[oid], self.refs[branch] = files, oid
        return oid

    def at(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class HubStandIn(ThreadingHTTPServer):
    """Holds the repositories and a log of all requests. It runs in a thread within a ``with`` block."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.log: list[str] = []
        self.stored: dict[str, bytes] = {}  # large files, by sha256
        self.uploaded: list[str] = []  # names of the files of all commits
        self.broken = False

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _handle(self):
        hub, path = self.server, unquote(self.path.split("?")[0])
        hub.log.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if hub.broken:
            return self._answer(503, {"error": "under repair"})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.command == "POST" and token != WRITER and path != "/api/validate-yaml":
            return self._answer(403 if token == READER else 401, {"error": "not allowed"})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.startswith("/lfs/"):
            hub.stored[path.removeprefix("/lfs/")] = body
            return self._answer(200, {})
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?(?:/(\w+)(?:/(.*))?)?", path)
        repository = found and hub.repositories.get(found[1])
        if not repository or (repository.private and token not in (WRITER, READER)):
            return self._answer(401 if not token else 404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        name, action, rest = found.groups()
        getattr(self, f"_{action or 'revision'}")(name, repository, rest or "main", body)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _create(self, wanted):
        name = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
        there = name in self.server.repositories
        if not there:
            self.server.repositories[name] = Repository(private=wanted.get("visibility") == "private")
            self.server.repositories[name].commit("main", {".gitattributes": b""})
        self._answer(409 if there else 200, {"url": f"{self.server.endpoint}/{name}", "name": name})

    def _revision(self, name, repository, revision, _):
        if not (oid := repository.at(revision)):
            return self._answer(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": file} for file in repository.commits[oid]]
        self._answer(200, {"id": name, "modelId": name, "sha": oid, "private": repository.private, "siblings": files})

    def _tree(self, name, repository, revision, _):
        files = repository.commits[repository.at(revision)].items()
        self._answer(200, [{"type": "file", "path": path, "size": len(c), "oid": "0"} for path, c in files])

    def _branch(self, name, repository, branch, _):
        repository.refs.setdefault(branch, repository.refs["main"])
        self._answer(200, {})

    def _preupload(self, name, repository, revision, body):
        kinds = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": [kind | {"shouldIgnore": False} for kind in kinds]})

    def _info(self, name, repository, _, body):  # .git/info/lfs/objects/batch
        objects = [
            wanted | {"actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{wanted['oid']}"}}}
            for wanted in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name, repository, branch, body):
        files = dict(repository.commits[repository.refs[branch]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            if line["key"] in ("file", "lfsFile"):
                self.server.uploaded.append(value["path"])
        oid = repository.commit(branch, files)
        url = f"{self.server.endpoint}/{name}/commit/{oid}"
        self._answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, name, repository, rest, _):
        revision, file = rest.split("/", 1)
        oid = repository.at(revision)
        content = repository.commits.get(oid, {}).get(file)
        if content is None:
            return self._answer(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": oid})

    def _answer(self, code, content, headers=()):
        self._send(code, json.dumps(content).encode(), {"Content-Type": "application/json", **dict(headers)})

    def _send(self, code, content, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
