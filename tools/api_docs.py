#!/usr/bin/env python3
"""docs/API.md from src/api/openapi.json: `tools/api_docs.py` writes it, `--check` says whether it is up to date."""
import json
import pathlib
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SPEC = json.loads((ROOT / "src" / "api" / "openapi.json").read_text("utf-8"))
OUT = ROOT / "docs" / "API.md"
SERVER = SPEC["servers"][0]["url"]
SCHEMAS = SPEC["components"]["schemas"]


def resolve(node):
    while "$ref" in node:
        at = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def anchor(title):
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


# ---- types ------------------------------------------------------------------------------------------------------
def link(ref):
    name = ref.rsplit("/", 1)[1]
    return f"[{name}](#{anchor(name)})"


def literal(value):
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def limits(s):
    low, high, unit = s.get("minimum"), s.get("maximum"), ""
    for kind, name in (("Length", "characters"), ("Items", "items"), ("Properties", "fields")):
        if f"min{kind}" in s or f"max{kind}" in s:
            low, high, unit = s.get(f"min{kind}"), s.get(f"max{kind}"), " " + name
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if high is not None:
        return f"at most {high}{unit}"
    return f"at least {low}{unit}" if low else ""


def type_of(s):
    """One line for a schema."""
    if s is True or not s or set(s) <= {"description"}:
        return "any JSON"
    if "$ref" in s:
        return link(s["$ref"])
    if "anyOf" in s:
        return " or ".join(type_of(x) for x in s["anyOf"])
    if "allOf" in s:
        return type_of(s["allOf"][0])
    if "const" in s:
        return literal(s["const"])
    if "enum" in s:
        return ", ".join(literal(v) for v in s["enum"])
    names = [s["type"]] if isinstance(s["type"], str) else s["type"]
    if "array" in names:
        text = "list of " + type_of(s["items"])
    elif "object" in names and isinstance(s.get("additionalProperties"), dict) and not s.get("properties"):
        text = "object of " + type_of(s["additionalProperties"])
    else:
        text = " or ".join(n for n in names if n != "null") or "null"
    if limits(s):
        text += ", " + limits(s)
    if "pattern" in s:
        text += f", `{s['pattern']}`"
    return text + (" or null" if "null" in names and len(names) > 1 else "")


def rows(schema, before=""):
    """(name, type, needed, description) of the fields, those of unnamed objects within too."""
    needed = schema.get("required", ())
    for name, s in schema.get("properties", {}).items():
        text = s.get("description", "")
        if "default" in s:
            text += f" Default {literal(s['default'])}."
        yield f"{before}{name}", type_of(s), name in needed, text.strip()
        inner, mark = (s["items"], "[].") if s.get("type") == "array" else (s, ".")
        if isinstance(inner.get("additionalProperties"), dict) and "properties" in inner["additionalProperties"]:
            inner, mark = inner["additionalProperties"], ".*."
        if "properties" in inner:
            yield from rows(inner, f"{before}{name}{mark}")


def fields(schema, request):
    flag = "needed" if request else "always there"
    out = [f"| field | type | {flag} | |", "|---|---|---|---|"]
    for name, kind, needed, text in rows(schema):
        out.append(f"| `{name}` | {cell(kind)} | {'yes' if needed else ''} | {cell(text)} |")
    return out


def requests():
    """Names of the schemas that are sent."""
    found = set()

    def collect(node):
        if isinstance(node, dict):
            name = node.get("$ref", "").rsplit("/", 1)[-1]
            if name and name not in found:
                found.add(name)
                collect(resolve(node))
            for child in node.values():
                collect(child)
        elif isinstance(node, list):
            for child in node:
                collect(child)

    for item in SPEC["paths"].values():
        for o in item.values():
            collect(o.get("requestBody", {}))
    return found


def type_section(name, sent):
    s = SCHEMAS[name]
    out = [f"### {name}", ""]
    if s.get("description"):
        out += [s["description"], ""]
    other = s.get("additionalProperties")
    if s.get("properties"):
        out += [*fields(s, name in sent), ""]
        if isinstance(other, dict):
            out += [f"Any other field: {type_of(other)}.", ""]
        elif other is True:
            out += ["Other fields may be there.", ""]
    else:
        out += [f"{type_of(s)[:1].upper()}{type_of(s)[1:]}.", ""]
    return out


# ---- operations -------------------------------------------------------------------------------------------------
def curl(path, method, o, value):
    address = path
    for p in map(resolve, o.get("parameters", ())):
        if p["in"] == "path":
            address = address.replace("{%s}" % p["name"], p["example"])
    words = ["curl", "-s"]
    if method not in ("get", "post") or (method == "post" and value is None):
        words += ["-X", method.upper()]
    words.append(SERVER + address)
    if "security" not in o:
        words += ["-H", "Authorization: Bearer $KEY"]
    if value is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(value, ensure_ascii=False)]
    words = [f'"{w}"' if "$KEY" in w else shlex.quote(w) for w in words]
    line = " ".join(words)
    return line if len(line) <= 120 else line.replace(" -H Content", " \\\n     -H Content").replace(" -H 'Content", " \\\n     -H 'Content")


def examples(path, method, o):
    body = o.get("requestBody", {}).get("content", {})
    given = body.get("application/json", {}).get("examples", {})
    lines = [f"# {e['summary']}\n{curl(path, method, o, e['value'])}" for e in given.values()] or [curl(path, method, o, None)]
    if "multipart/form-data" in body:
        address = curl(path, method, {**o, "requestBody": {}}, None).replace(" -X POST", "")
        lines.append(f"# A file\n{address} -F file=@fees.xlsx")
    return ["```sh", *lines, "```", ""]


def body_types(content):
    return ", or ".join(f"{type_of(m['schema'])} (`{kind}`)" for kind, m in content.items())


def response_lines(o):
    out, errors = ["| status | body | |", "|---|---|---|"], []
    for status, r in o["responses"].items():
        if "$ref" in r:
            errors.append(status)
            continue
        content = {k: m for k, m in r.get("content", {}).items() if k != "text/event-stream"}
        kinds = " or ".join(type_of(m["schema"]) if k == "application/json" else f"`{k}`" for k, m in content.items())
        out.append(f"| {status} | {cell(kinds)} | {cell(r['description'])} |")
    return [*out, "", f"[Errors](#errors): {', '.join(errors)}.", ""]


def event_lines(o):
    media = resolve(o["responses"]["200"]).get("content", {}).get("text/event-stream")
    if not media:
        return []
    out = ["As `text/event-stream`, the data of each event is one line of JSON:", "", "| event | data |", "|---|---|"]
    return [*out, *(f"| `{name}` | {type_of(s)} |" for name, s in media["x-events"].items()), ""]


def operation(path, method, o):
    out = [f"### {method.upper()} {path}", "", f"{o['summary']}."]
    scopes = o.get("x-scopes")
    out += ["No key needed." if scopes is None else "Scope: " + " or ".join(f"`{s}`" for s in scopes) + ".", ""]
    if o.get("description"):
        out += [o["description"], ""]
    parameters = [resolve(p) for p in o.get("parameters", ())]
    if parameters:
        out += ["| parameter | in | type | |", "|---|---|---|---|"]
        for p in parameters:
            default = f" Default {literal(p['schema']['default'])}." if "default" in p["schema"] else ""
            out.append(f"| `{p['name']}` | {p['in']} | {cell(type_of(p['schema']))} | {cell(p['description'])}{default} |")
        out.append("")
    if "requestBody" in o:
        need = "" if o["requestBody"]["required"] else " It may be left out."
        out += [f"Body: {body_types(o['requestBody']['content'])}.{need}", ""]
    return out + examples(path, method, o) + response_lines(o) + event_lines(o)


def errors():
    """(status, response) of the shared ones."""
    return {(status, json.dumps(r)): (status, resolve(r)) for item in SPEC["paths"].values() for o in item.values()
            for status, r in o["responses"].items() if "$ref" in r}.values()


def document():
    info = SPEC["info"]
    out = ["# HTTP API", "", "Made from [src/api/openapi.json](../src/api/openapi.json) by `tools/api_docs.py`; a server gives that "
           "file at `GET /openapi.json`.", "", info["description"], "", "## Keys", "",
           SPEC["components"]["securitySchemes"]["bearer"]["description"], "",
           "A key comes as `Authorization: Bearer KEY` or `X-API-Key: KEY`.", "", "## Headers of answers", "", "| header | |", "|---|---|"]
    out += [f"| `{n}` | {cell(h.get('description', ''))} |" for n, h in SPEC["components"]["headers"].items()] + [""]
    out += ["## Errors", "", f"Every one has the body {type_of({'$ref': '#/components/schemas/Error'})}.", "", "| status | |", "|---|---|"]
    out += [f"| {status} | {cell(r['description'])} |" for status, r in sorted(errors(), key=lambda e: e[0])] + [""]
    for tag in SPEC["tags"]:
        out += [f"## {tag['name']}", "", tag["description"], ""]
        for path, item in SPEC["paths"].items():
            for method, o in item.items():
                if tag["name"] in o["tags"]:
                    out += operation(path, method, o)
    sent = requests()
    out += ["## Types", ""]
    for name in SCHEMAS:
        out += type_section(name, sent)
    return "\n".join(out).rstrip() + "\n"


def main():
    text = document()
    if sys.argv[1:] == ["--check"]:
        if not OUT.exists() or OUT.read_text("utf-8") != text:
            sys.exit("docs/API.md is not what src/api/openapi.json says: run tools/api_docs.py")
    elif sys.argv[1:]:
        sys.exit("usage: tools/api_docs.py [--check]")
    else:
        OUT.write_text(text, "utf-8")


main()
