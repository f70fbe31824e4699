#!/usr/bin/env python3
"""Stands in for MediaMTX in tests: prints its version, reads its settings, answers its control API, and serves no media.

Written from api/openapi.yaml of v1.5.1 and v1.20.1 (info, config/global, config/paths, paths). What it should do differently
is in behaviour.json beside it, read at each look:
  version    what it is, such as "v1.20.1"
  says       what it prints for --version, instead
  exits      the status with which it ends at once
  lines      what it prints at its start
  hangs      it takes connections and answers nothing
  global     more of its global settings
  figures    what paths/list gives
"""
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

HERE = os.path.dirname(os.path.abspath(__file__))
PATHS = {}
SETTINGS = {}


def behaviour():
    with open(os.path.join(HERE, "behaviour.json")) as file:
        return json.load(file)


def is_new():
    return behaviour()["version"] == "v1.20.1"


def known_keys():
    common = {"source", "sourceOnDemand"}
    return common | {"forward"} if is_new() else common


def shown(name, path):
    config = {"name": name, "source": "publisher", "sourceOnDemand": False, "record": False}
    if is_new():
        config["forward"] = []
    return config | path


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, status, error):
        self.reply(status, {"status": "error", "error": error} if is_new() else {"error": error})

    def page(self, items):
        query = parse_qs(urlparse(self.path).query)
        size, number = int(query["itemsPerPage"][0]), int(query["page"][0])
        pages = -(-len(items) // size)
        items_of_page = items[number * size : (number + 1) * size]
        self.reply(200, {"itemCount": len(items), "pageCount": pages, "items": items_of_page})

    def answer(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if behaviour().get("hangs"):
            self.rfile.read(1)  # until whoever asked goes away
            return
        call = urlparse(self.path).path.removeprefix("/v3/")
        if is_new() and SETTINGS.get("authMethod") == "http" and "Authorization" not in self.headers:
            return self.refuse(401, "authentication error")
        what = (self.command, call)
        if what == ("GET", "info") and is_new():
            return self.reply(200, {"version": "v1.20.1", "started": "2026-08-22T16:57:28Z"})
        if what == ("GET", "config/global/get"):
            return self.reply(200, SETTINGS | behaviour().get("global", {}))
        if what == ("GET", "config/paths/list"):
            return self.page([shown(name, PATHS[name]) for name in sorted(PATHS)])
        if what == ("GET", "paths/list"):
            return self.page(behaviour().get("figures", []))
        for verb, action in (("POST", "add"), ("POST", "replace"), ("PATCH", "patch"), ("DELETE", "delete")):
            start = f"config/paths/{action}/"
            if self.command == verb and call.startswith(start):
                return self.change(action, call.removeprefix(start), body)
        text = b"404 page not found"
        self.send_response(404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def change(self, action, name, body):
        if action == "add" and name in PATHS:
            return self.refuse(400, "path already exists")
        if action in ("patch", "delete") and name not in PATHS:
            return self.refuse(404, "path configuration not found")
        if action == "delete":
            del PATHS[name]
        else:
            config = json.loads(body)
            unknown = set(config) - known_keys()
            if unknown:
                return self.refuse(400, f'json: unknown field "{unknown.pop()}"')
            before = PATHS.get(name, {}) if action == "patch" else {}
            PATHS[name] = before | config
        self.reply(200, {"status": "ok"})

    do_GET = do_POST = do_PATCH = do_DELETE = answer


def main():
    wish = behaviour()
    if sys.argv[1:] == ["--version"]:
        while wish.get("hangs") == "on --version":
            signal.pause()
        print(wish.get("says", wish["version"]))
        return
    for line in wish.get("lines", []):
        print(line, flush=True)
    if "exits" in wish:
        sys.exit(wish["exits"])
    with open(sys.argv[1]) as file:
        SETTINGS.update(json.load(file))
    PATHS.update(SETTINGS.get("paths", {}))
    host, port = SETTINGS["apiAddress"].rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Api)
    print(f"ready on {server.server_port}", flush=True)
    server.serve_forever()


main()
