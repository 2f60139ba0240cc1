"""The API description held against what a server really does.

`install` hooks http.client, on which every client of the tests stands: each answer of a watched server must be one that
src/api/openapi.json describes, and each JSON request that was accepted must be one that it allows. What does not match is
collected; conftest.py fails the test in which it happened.

The validator knows the keywords that the description uses, and refuses others, so that none is silently ignored.
"""
import functools
import gzip
import http.client
import json
import pathlib
import re
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "src" / "api" / "openapi.json"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

# ---- schemas ----------------------------------------------------------------------------------------------------
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
CHECKED = {"$ref", "type", "enum", "const", "minimum", "maximum", "minLength", "maxLength", "pattern", "items", "minItems",
           "maxItems", "properties", "required", "additionalProperties", "minProperties", "maxProperties", "anyOf", "allOf"}
SAID = {"description", "default", "example", "contentMediaType"}


@functools.lru_cache(None)
def description():
    return json.loads(FILE.read_text("utf-8"))


def resolve(node):
    """The node that a $ref leads to."""
    while isinstance(node, dict) and "$ref" in node:
        at = description()
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        node = at
    return node


def is_type(value, name):
    if name in ("integer", "number"):
        return isinstance(value, int if name == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def object_error(schema, value, at):
    for name in schema.get("required", ()):
        if name not in value:
            return f"{at}: {name} is missing"
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return f"{at}: {len(value)} fields"
    known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, v in value.items():
        if name not in known and other is False:
            return f"{at}: {name} is not described"
        e = schema_error(known.get(name, other), v, f"{at}.{name}")
        if e:
            return e
    return None


def array_error(schema, value, at):
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{at}: {len(value)} items"
    for i, v in enumerate(value):
        e = schema_error(schema.get("items", True), v, f"{at}[{i}]")
        if e:
            return e
    return None


def scalar_error(schema, value, at):
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            return f"{at}: {len(value)} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return f"{at}: {value!r} does not match {schema['pattern']}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return f"{at}: {value} is out of range"
    return None


def any_error(schema, value, at):
    """Of no branch: what the one says that got furthest."""
    found = [schema_error(s, value, at) for s in schema["anyOf"]]
    return None if None in found else max(found, key=lambda e: e.index(": ")) + " (in no form that is described)"


def schema_error(schema, value, at="body"):
    """What is wrong with the value, as "place: why"; None when nothing is."""
    schema = resolve(schema)
    if schema is True:
        return None
    unknown = set(schema) - CHECKED - SAID
    assert not unknown, f"keywords that the validator does not know: {unknown}"
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_type(value, n) for n in names):
        return f"{at}: {json.dumps(value, ensure_ascii=False)[:80]} is not of type {' or '.join(names)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        return f"{at}: {value!r} is not {schema['const']!r}"
    for s in schema.get("allOf", ()):
        e = schema_error(s, value, at)
        if e:
            return e
    if "anyOf" in schema:
        e = any_error(schema, value, at)
        if e:
            return e
    check = {dict: object_error, list: array_error}.get(type(value), scalar_error)
    return check(schema, value, at)


# ---- one exchange -----------------------------------------------------------------------------------------------
def find_path(path):
    """The described path that `path` belongs to."""
    parts = path.split("/")
    for pattern in description()["paths"]:
        want = pattern.split("/")
        if len(want) == len(parts) and all(w == p or (w.startswith("{") and p) for w, p in zip(want, parts)):
            return pattern
    return None


ERROR = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
ANYWHERE = (400, 403, 413, 503)  # a bad path, a foreign host, a long body, too many connections: before any route


def response_of(method, path, status):
    """The described response; a string says why there is none."""
    pattern = find_path(path)
    if method == "OPTIONS":
        return {} if status == 204 else ERROR if status in ANYWHERE else "OPTIONS answers 204"
    if not pattern:
        return ERROR if status in (404, *ANYWHERE) else "this path is not described"
    operation = description()["paths"][pattern].get("get" if method == "HEAD" else method.lower())
    if not operation:
        return ERROR if status in (405, *ANYWHERE) else f"{pattern} has no such method"
    response = operation["responses"].get(str(status))
    return resolve(response) if response else f"{pattern} describes no status {status}"


def events_of(text):
    """(name, data) of a body of server-sent events."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        if lines:
            yield (next((v for k, _, v in lines if k == "event"), "message"),
                   "\n".join(v for k, _, v in lines if k == "data"))


def event_error(media, name, data):
    if name not in media["x-events"]:
        return f"the event {name} is not described"
    return schema_error(media["x-events"][name], data, f"event {name}")


def body_error(media_type, media, raw):
    try:
        text = raw.decode()
        if media_type == "text/event-stream":
            for name, data in events_of(text):
                e = event_error(media, name, json.loads(data))
                if e:
                    return e
            return None
        value = json.loads(text) if media_type == "application/json" else text
    except ValueError as e:
        return f"body: not {media_type}: {e}"
    return schema_error(media["schema"], value)


def head_error(method, path, status, headers):
    response = response_of(method, path, status)
    if isinstance(response, str):
        return response
    for name, header in response.get("headers", {"X-Request-Id": {"required": True}}).items():
        if resolve(header).get("required") and name not in headers:
            return f"the header {name} is missing"
    content = response.get("content", {})
    kind = (headers.get("Content-Type") or "").partition(";")[0]
    if (content or kind) and kind not in content:
        return f"Content-Type {kind!r} is not described"
    return None


def request_error(method, path, kind, body):
    """Of a request that was accepted."""
    operation = description()["paths"].get(find_path(path) or "", {}).get(method.lower())
    if not operation or not body or not isinstance(body, (bytes, str)) or kind.partition(";")[0] != "application/json":
        return None
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema_error(schema, json.loads(body), "request")


def of_the_http_layer(status, headers):
    """What libmicrohttpd refuses by itself, before it is a request."""
    return "X-Request-Id" not in headers and status in (400, 413, 414, 431, 500, 501, 505)


# ---- the hook ---------------------------------------------------------------------------------------------------
_servers = {}  # port: process
_found = []
_lock = threading.Lock()


def watch(port, process):
    """From now on, while the process lives."""
    _servers[port] = process


def take():
    """What was wrong since the last call."""
    with _lock:
        found, _found[:] = list(_found), []
    return found


def report(method, path, status, why):
    with _lock:
        _found.append(f"{method} {path} -> {status}: {why}")


def check_event(path, name, data):
    """An event of an answer of `path` that a test read by itself."""
    media = description()["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
    why = event_error(media, name, data)
    if why:
        report("POST", path, 200, why)


def check_body(asked, response, raw):
    method, path, kind, body = asked
    described = response_of(method, path, response.status)
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0]
    media = described.get("content", {}).get(media_type)
    if response.headers.get("Content-Encoding") == "gzip" and method != "HEAD" and raw:
        raw = gzip.decompress(raw)
    why = body_error(media_type, media, raw) if media and method != "HEAD" else None
    if not why and response.status in (200, 201):
        why = request_error(method, path, kind, body)
    if why:
        report(method, path, response.status, why)


def watch_body(asked, response):
    got, read = bytearray(), response.read

    def checked(amt=None):
        data = read() if amt is None else read(amt)
        got.extend(data)
        if (amt is None or not data) and not response.__dict__.get("checked"):
            response.checked = True
            check_body(asked, response, bytes(got))
        return data

    response.read = checked


def on_response(asked, response):
    method, path = asked[:2]
    if path.startswith("/console/") or of_the_http_layer(response.status, response.headers):
        return
    why = head_error(method, path, response.status, response.headers)
    if why:
        report(method, path, response.status, why)
    else:
        watch_body(asked, response)


def install():
    connection = http.client.HTTPConnection
    request, getresponse = connection.request, connection.getresponse

    def asking(self, method, url, body=None, headers={}, **kw):  # noqa: B006 (as http.client has it)
        process = _servers.get(self.port)
        self.asked = None
        if process and process.poll() is None:
            kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
            self.asked = method, url.partition("?")[0], kind, body
        return request(self, method, url, body, headers, **kw)

    def answered(self):
        response = getresponse(self)
        asked, self.asked = self.__dict__.get("asked"), None
        if asked:
            on_response(asked, response)
        return response

    connection.request, connection.getresponse = asking, answered
