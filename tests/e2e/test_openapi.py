"""The API description is well formed, complete against the C sources, and true to a real server. That every answer of every
other test matches it is checked by openapi_check.py."""
import json
import pathlib
import re
import subprocess
import sys

import pytest

import conftest
import openapi_check
from openapi_check import METHODS, description, resolve, schema_error

API = conftest.ROOT / "src" / "api"
SPEC = description()
OPERATIONS = [(path, method, o) for path, item in SPEC["paths"].items() for method, o in item.items()]


def walk(node, at=""):
    yield at, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from walk(child, f"{at}/{key}")


# ---- well formed ------------------------------------------------------------------------------------------------
def test_document_is_openapi_3_1():
    assert SPEC["openapi"].startswith("3.1.")
    assert SPEC["info"]["title"] == "ragd" and SPEC["info"]["version"] in conftest.ragd("--version").out
    assert set(SPEC) <= {"openapi", "info", "servers", "paths", "components", "security", "tags"}
    ids = [o["operationId"] for _, _, o in OPERATIONS]
    assert len(set(ids)) == len(ids)
    tags = {t["name"] for t in SPEC["tags"]}
    for path, method, o in OPERATIONS:
        assert method in METHODS and path.startswith("/")
        assert set(o["tags"]) <= tags and o["summary"]
        assert all(re.fullmatch("[1-5][0-9][0-9]", s) and resolve(r)["description"] for s, r in o["responses"].items())
        named = {resolve(p)["name"] for p in o.get("parameters", ()) if resolve(p)["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), path
        assert all(resolve(p).get("required") for p in o.get("parameters", ()) if resolve(p)["in"] == "path")


def test_references_resolve_and_every_component_is_used():
    used = set()
    for at, node in walk(SPEC):
        if isinstance(node, dict) and "$ref" in node:
            assert set(node) == {"$ref"}, at
            assert resolve(node) is not None
            used.add(node["$ref"])
    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in SPEC["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, f"{kind}/{name} is used nowhere"


def test_schemas_use_only_what_the_validator_knows():
    for at, node in walk(SPEC):
        if isinstance(node, dict) and ("type" in node or "anyOf" in node) and re.search(r"/(schema|schemas/\w+)$", at):
            check_keywords(node, at)


def check_keywords(schema, at):
    if schema in (True, False) or "$ref" in schema:
        return
    assert set(schema) <= openapi_check.CHECKED | openapi_check.SAID, at
    for name, child in schema.get("properties", {}).items():
        check_keywords(child, f"{at}/{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            check_keywords(schema[name], f"{at}/{name}")
    for name in ("anyOf", "allOf"):
        for i, child in enumerate(schema.get(name, ())):
            check_keywords(child, f"{at}/{name}/{i}")


def test_examples_are_valid_and_in_both_languages():
    for path, method, o in OPERATIONS:
        contents = [o.get("requestBody", {}).get("content", {})] + [resolve(r).get("content", {}) for r in o["responses"].values()]
        for content in contents:
            media = content.get("application/json", {})
            values = [e["value"] for e in media.get("examples", {}).values()] + ([media["example"]] if "example" in media else [])
            for v in values:
                assert schema_error(media["schema"], v, f"{method} {path}") is None
        if "application/json" in contents[0]:
            assert {"zh", "en"} <= set(contents[0]["application/json"]["examples"]), path


# ---- complete ---------------------------------------------------------------------------------------------------
def test_every_route_is_described_and_no_other():
    rows = re.findall(r'\{"(/[^"]*)", HTTP_(\w+), ([\w |]+), (?:true|false), route_\w+\}', (API / "routes.c").read_text())
    assert len(rows) == int(re.search(r"N_ROUTES = (\d+)", (API / "api_int.h").read_text()).group(1))
    routes = {(path, method.lower()): scopes for path, method, scopes in rows if not path.startswith("/console/")}
    assert set(routes) == {(path, method) for path, method, _ in OPERATIONS}
    scopes = {"READ": ["query", "ingest"], "SCOPE_QUERY": ["query"], "SCOPE_INGEST": ["ingest"], "SCOPE_ADMIN": ["admin"]}
    for path, method, o in OPERATIONS:
        if routes[path, method] == "0":
            assert o["security"] == [] and "x-scopes" not in o
        else:
            assert o["x-scopes"] == scopes[routes[path, method]] and "security" not in o
            assert {"401", "403", "429"} <= set(o["responses"])


def properties(name):
    return set(SPEC["components"]["schemas"][name]["properties"])


# Where a list of names in the C sources is described: (file, function, variable) -> names.
def described_lists():
    def arguments(*operations):
        return [{resolve(p)["name"] for p in o["parameters"] if resolve(p)["in"] == "query"}
                for _, _, o in OPERATIONS if o["operationId"] in operations]
    page, version = arguments("listCollections")[0], arguments("getDocument")[0]
    return {("request_json.c", "query_fields", "for_query"): properties("QueryRequest") - {"cache"},
            ("request_json.c", "query_fields", "for_search"): properties("SearchRequest") - {"cache"},
            ("request_json.c", "query_fields", "later"): {"cache"},
            ("request_json.c", "delete_from_json", "known"): properties("DeleteRequest"),
            ("request_json.c", "collection_from_json", "known"): properties("CollectionPut"),
            ("request_json.c", "document_fields", "known"): properties("DocumentInput"),
            ("request_json.c", "batch_fields", "known"): properties("DocumentBatch"),
            ("feedback_json.c", "check_fields", "known"): properties("FeedbackRequest"),
            ("labelled_routes.c", "route_labelled_put", "names"): arguments("putLabelled")[0],
            ("labelled.c", "add_relevant_one", "known"): properties("RelevantDocument"),
            ("labelled.c", "add_question", "known"): properties("LabelledQuestion"),
            ("knowledge_routes.c", "page_args", "names"): page,
            ("knowledge_routes.c", "version_arg", "names"): version}


def lists_of_names(source):
    """{(function, variable): names} of every `static const char *const variable[] = {...}` within a function."""
    found = {}
    for m in re.finditer(r"\n    static const char \*const (\w+)\[\] = \{([^}]*)\};", source):
        function = re.findall(r"\n\w[\w *]*?(\w+)\([^;{}]*\)\n\{", source[:m.start() + 1])[-1]
        found[function, m.group(1)] = set(re.findall(r'"(\w+)"', m.group(2)))
    return found


def test_every_request_field_is_described():
    want, found = described_lists(), {}
    for file in (*API.glob("*.c"), API.parent / "pipeline" / "labelled.c"):
        for (function, variable), names in lists_of_names(file.read_text()).items():
            if variable in ("known", "names", "later", "for_query", "for_search"):
                found[file.name, function, variable] = names
    assert found == want


def test_every_embeddings_and_upload_field_is_described():
    source = (API / "embeddings_routes.c").read_text()
    assert set(re.findall(r'json_object_get\(root, "(\w+)"\)', source)) == properties("EmbeddingsRequest")
    source = (API / "ingest_routes.c").read_text()
    parts = re.search(r"static rag_code take_part\(.*?\n\}", source, re.S).group(0)
    assert set(re.findall(r'str_eqz\(p->name, "(\w+)"\)', parts)) == properties("DocumentUpload")


def numbers(*files):
    """Constants of the sources by name."""
    text = "".join((API / f).read_text() for f in files)
    return {n: eval(v, {"__builtins__": {}}) for n, v in re.findall(r"\b([A-Z_]+) = ([0-9 <>+*()]+)[,\s}/]", text)}


def test_limits_are_those_of_the_sources():
    c = numbers("request_json.h", "request_json.c", "feedback_json.h", "embeddings_routes.c", "knowledge_routes.c")
    s = SPEC["components"]["schemas"]
    query, document = s["QueryRequest"]["properties"], s["DocumentInput"]["properties"]
    feedback, embeddings = s["FeedbackRequest"]["properties"], s["EmbeddingsRequest"]["properties"]
    assert query["query"]["maxLength"] == c["QUERY_TEXT_MAX"]
    assert document["id"]["maxLength"] == c["DOCUMENT_ID_MAX"]
    assert (document["title"]["maxLength"], document["source"]["maxLength"]) == (c["TITLE_MAX"], c["SOURCE_MAX"])
    assert s["DocumentBatch"]["properties"]["documents"]["maxItems"] == c["BATCH_MAX"]
    assert s["Metadata"]["maxProperties"] == c["METADATA_MAX_KEYS"]
    assert s["CollectionSettings"]["properties"]["system_prompt"]["maxLength"] == c["MAX_SYSTEM_PROMPT"]
    assert s["Filters"]["additionalProperties"]["anyOf"][1]["maxItems"] == c["FILTER_MAX_VALUES"]
    assert feedback["query_id"]["maxLength"] == feedback["user_id"]["maxLength"] == c["FEEDBACK_ID_MAX"]
    assert feedback["chunk_id"]["maxLength"] == c["FEEDBACK_CHUNK_ID_MAX"]
    assert feedback["chunk_ids"]["maxItems"] == c["FEEDBACK_CHUNKS_MAX"]
    assert feedback["comment"]["maxLength"] == c["FEEDBACK_COMMENT_MAX"]
    assert embeddings["input"]["anyOf"][1]["maxItems"] == c["INPUTS_MAX"]
    assert embeddings["input"]["anyOf"][0]["maxLength"] == c["INPUT_BYTES_MAX"]
    limit = SPEC["components"]["parameters"]["limit"]["schema"]
    assert (limit["default"], limit["maximum"]) == (c["LIST_DEFAULT"], c["LIST_MAX"])


# ---- true -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "c.yaml").write_text("auth: {keys: [{name: all, key_env: ALL_KEY, scopes: [admin], rate_per_s: 2}]}\n")
    s = conftest.Server(folder / "data", "--config", folder / "c.yaml", env={"ALL_KEY": "key-of-all"}).ready()
    yield s
    s.stop()


def test_the_server_gives_the_description_without_a_key(server):
    assert server.request("GET", "/openapi.json") == (200, SPEC)
    assert server.request("GET", "/v1/info")[0] == 401
    c = openapi_check.http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    c.request("GET", "/openapi.json")
    r = c.getresponse()
    assert json.loads(r.read()) == SPEC
    c.request("GET", "/openapi.json", headers={"If-None-Match": r.headers["ETag"]})
    again = c.getresponse()
    assert (again.status, again.read()) == (304, b"")
    c.close()


def test_allowed_methods_are_those_described(server):
    for path, item in SPEC["paths"].items():
        address = path.replace("{c}", "default").replace("{id}", "x").replace("{name}", "x")
        c = openapi_check.http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        c.request("PATCH", address)
        r = c.getresponse()
        r.read()
        c.close()
        assert r.status == 405
        allowed = set(r.headers["Allow"].lower().split(", ")) - {"options", "head"}
        assert allowed == set(item), path


def test_the_limit_of_a_key_shows_as_described(server):
    key = {"X-API-Key": "key-of-all"}
    answers = [server.request("GET", "/v1/info", headers=key)[0] for _ in range(8)]
    assert 200 in answers and 429 in answers


def lie(**changes):
    answer = json.loads(json.dumps(SPEC["paths"]["/v1/query"]["post"]["responses"]["200"]["content"]["application/json"]["example"]))
    answer.update(changes)
    return schema_error({"$ref": "#/components/schemas/Answer"}, {k: v for k, v in answer.items() if v is not ...})


def test_the_check_finds_what_is_wrong():
    assert lie() is None
    assert "surprise is not described" in lie(surprise=1)
    assert "found is missing" in lie(found=...)
    assert "not of type" in lie(found="yes")
    assert "not of type" in lie(confidence=True)
    assert "out of range" in lie(confidence=1.5)
    assert "is none of" in lie(complexity="hard")
    assert "contexts[0].score" in lie(contexts=[{**{k: "x" for k in ("document_id", "chunk_id", "title", "text", "source")},
                                                 "version": 1, "heading_path": [], "start": 0, "end": 1, "metadata": {},
                                                 "score": "high", "scores": {"bm25": 0, "coverage": 0, "dense": None, "fused": 0}}])
    head = {"X-Request-Id": "a", "Content-Type": "application/json"}
    assert openapi_check.head_error("POST", "/v1/query", 200, head) is None
    assert "describes no status 418" in openapi_check.head_error("POST", "/v1/query", 418, head)
    assert "not described" in openapi_check.head_error("GET", "/v1/secret", 200, head)
    assert "no such method" in openapi_check.head_error("PUT", "/v1/query", 200, head)
    assert "X-Request-Id is missing" in openapi_check.head_error("POST", "/v1/query", 200, {"Content-Type": "application/json"})
    assert "Retry-After is missing" in openapi_check.head_error("POST", "/v1/query", 503, head)
    assert "Content-Type" in openapi_check.head_error("POST", "/v1/query", 200, {**head, "Content-Type": "text/html"})
    media = SPEC["paths"]["/v1/query"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert openapi_check.event_error(media, "token", {"text": "x"}) is None
    assert "is not described" in openapi_check.event_error(media, "surprise", {})
    assert "text is missing" in openapi_check.event_error(media, "token", {})
    assert openapi_check.request_error("POST", "/v1/query", "application/json", b'{"query":"x","top_k":101}')


def test_a_wrong_answer_fails_the_test_that_got_it(tmp_path):
    """A conftest of its own, beside a server that says what is not described."""
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})\n"
        "from importlib.machinery import SourceFileLoader\n"
        f"m = SourceFileLoader('e2e_conftest', {str(pathlib.Path(conftest.__file__))!r}).load_module()\n"
        "pytest_runtest_call, pytest_runtest_teardown = m.pytest_runtest_call, m.pytest_runtest_teardown\n")
    (tmp_path / "test_x.py").write_text("""
import http.client, http.server, os, threading
import openapi_check

class Alive:
    def poll(self):
        return None

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status":"ok","surprise":1}'
        self.send_response(200)
        for k, v in {"X-Request-Id": "a", "Content-Type": "application/json", "Content-Length": len(body)}.items():
            self.send_header(k, str(v))
        self.end_headers()
        self.wfile.write(body)

def test_it():
    s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    openapi_check.watch(s.server_port, Alive())
    c = http.client.HTTPConnection("127.0.0.1", s.server_port)
    c.request("GET", "/health/live")
    c.getresponse().read()
    s.shutdown()
""")
    p = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], capture_output=True,
                       text=True, cwd=tmp_path, timeout=60)
    assert p.returncode == 1 and "surprise is not described" in p.stdout and "1 failed" in p.stdout, p.stdout + p.stderr


def test_api_md_is_up_to_date():
    p = subprocess.run([sys.executable, str(conftest.ROOT / "tools" / "api_docs.py"), "--check"], capture_output=True, text=True,
                       timeout=60)
    assert p.returncode == 0, p.stdout + p.stderr
