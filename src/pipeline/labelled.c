/* The file begins with its own description, {"collection":..,"count":..,"updated_ms":..,"questions":[, so that a list
 * reads a few hundred bytes of each set. Questions are written from what was understood, never copied from a client. */
#include "pipeline/labelled.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/file.h"
#include "text/utf8.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum {
    QUERY_MAX = 8192,
    TEXT_MAX = 4096,    /* of a document's name, of a text that must be there, of an answer */
    WORD_MAX = 64,      /* of id, kind, lang, complexity */
    RELEVANT_MAX = 100, /* documents of a question */
    LIST_MAX = 50,      /* texts of one of them, answers */
    FILE_MAX = 64 << 20,
    HEAD_MAX = 512
};

static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER; /* one change of any folder at a time */

bool labelled_name_ok(struct str name)
{
    if (name.len == 0 || name.len > LABELLED_NAME_MAX || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-'))
            return false;
    }
    return true;
}

/* ---- a question in --------------------------------------------------------------------------------------- */

struct parse {
    struct buf *out;
    char where[32]; /* "questions[12]", "line 13" */
    struct rag_err *err;
};

static rag_code wrong(struct parse *p, const char *field, const char *why)
{
    char param[64];
    snprintf(param, sizeof param, "%s%s%s", p->where, *field ? "." : "", field);
    return rag_err_param(p->err, RAG_EINVAL, param, "%s %s", param, why);
}

static const json_t *member(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

static rag_code check_text(struct parse *p, const char *field, const json_t *v, size_t max)
{
    if (!json_is_string(v))
        return wrong(p, field, "must be a string");
    struct str s = str_trim(json_in_str(v));
    if (s.len == 0)
        return wrong(p, field, "must not be empty");
    if (s.len > max)
        return wrong(p, field, "is too long");
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < 0x20 && !(s.ptr[i] >= '\t' && s.ptr[i] <= '\r')) || s.ptr[i] == 0x7f)
            return wrong(p, field, "holds a control character");
    return RAG_OK;
}

static rag_code add_text(struct parse *p, const char *key, const char *field, const json_t *v, size_t max)
{
    rag_code rc = check_text(p, field, v, max);
    if (rc)
        return rc;
    if (key)
        json_add_key(p->out, key);
    json_add_string(p->out, str_trim(json_in_str(v)));
    return RAG_OK;
}

static rag_code add_texts(struct parse *p, const char *key, const char *field, const json_t *list)
{
    size_t i;
    const json_t *v;
    if (!json_is_array(list))
        return wrong(p, field, "must be a list of strings");
    if (json_array_size(list) > LIST_MAX)
        return wrong(p, field, "has too many items");
    json_add_key(p->out, key);
    json_add_open(p->out, '[');
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
    {
        rag_code rc = add_text(p, NULL, field, v, TEXT_MAX);
        if (rc)
            return rc;
    }
    json_add_close(p->out, ']');
    return RAG_OK;
}

static rag_code check_members(struct parse *p, const char *field, const json_t *o, const char *const *known)
{
    const char *key;
    const json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        bool ok = false;
        for (size_t i = 0; known[i] && !ok; i++)
            ok = strcmp(known[i], key) == 0;
        if (!ok) {
            char why[96];
            snprintf(why, sizeof why, "has the unknown field %.60s", key);
            return wrong(p, field, why);
        }
    }
    return RAG_OK;
}

static rag_code add_relevant_one(struct parse *p, const json_t *v)
{
    static const char *const known[] = {"doc", "must_contain", NULL};
    bool object = json_is_object(v);
    rag_code rc = object ? check_members(p, "relevant", v, known) : RAG_OK;
    json_add_open(p->out, '{');
    if (!rc)
        rc = add_text(p, "doc", object ? "relevant.doc" : "relevant", object ? member(v, "doc") : v, TEXT_MAX);
    if (!rc && object && member(v, "must_contain"))
        rc = add_texts(p, "must_contain", "relevant.must_contain", member(v, "must_contain"));
    json_add_close(p->out, '}');
    return rc;
}

static rag_code add_relevant(struct parse *p, const json_t *o)
{
    const json_t *list = member(o, "relevant"), *answerable = member(o, "answerable"), *v;
    size_t i, n = json_array_size(list);
    if (list && !json_is_array(list))
        return wrong(p, "relevant", "must be a list of documents");
    if (n > RELEVANT_MAX)
        return wrong(p, "relevant", "has too many items");
    if (answerable && !json_is_boolean(answerable))
        return wrong(p, "answerable", "must be true or false");
    if (n && json_is_false(answerable))
        return wrong(p, "answerable", "is false, but relevant names documents");
    json_add_key(p->out, "relevant");
    json_add_open(p->out, '[');
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
    {
        rag_code rc = add_relevant_one(p, v);
        if (rc)
            return rc;
    }
    json_add_close(p->out, ']');
    json_add_key(p->out, "answerable");
    json_add_bool(p->out, n || json_is_true(answerable));
    return RAG_OK;
}

static rag_code add_need(struct parse *p, const json_t *v)
{
    if (!json_is_string(v) || (!str_eqz(json_in_str(v), "any") && !str_eqz(json_in_str(v), "all")))
        return wrong(p, "need", "must be \"any\" or \"all\"");
    json_add_key(p->out, "need");
    json_add_string(p->out, json_in_str(v));
    return RAG_OK;
}

/* An empty text says that there is none. */
static rag_code add_answer(struct parse *p, const json_t *v)
{
    if (json_is_array(v))
        return json_array_size(v) ? add_texts(p, "answer", "answer", v) : RAG_OK;
    if (json_is_string(v) && str_trim(json_in_str(v)).len == 0)
        return RAG_OK;
    return add_text(p, "answer", "answer", v, TEXT_MAX);
}

static rag_code add_question(struct parse *p, const json_t *o)
{
    static const char *const known[] = {"query", "text", "relevant", "need", "answer", "gist", "answerable",
                                        "id",    "kind", "lang",     "complexity", NULL};
    static const char *const words[] = {"id", "kind", "lang", "complexity"};
    if (!json_is_object(o))
        return wrong(p, "", "must be an object");
    const json_t *query = member(o, "query"), *text = member(o, "text");
    rag_code rc = check_members(p, "", o, known);
    if (!rc && query && text)
        rc = wrong(p, "text", "stands beside query: one of them");
    if (!rc && !query && !text)
        rc = wrong(p, "query", "is missing");
    json_add_open(p->out, '{');
    if (!rc)
        rc = add_text(p, "query", query ? "query" : "text", query ? query : text, QUERY_MAX);
    if (!rc)
        rc = add_relevant(p, o);
    if (!rc && member(o, "need"))
        rc = add_need(p, member(o, "need"));
    if (!rc && member(o, "answer"))
        rc = add_answer(p, member(o, "answer"));
    if (!rc && member(o, "gist") && json_string_length(member(o, "gist")))
        rc = add_text(p, "gist", "gist", member(o, "gist"), TEXT_MAX);
    for (size_t i = 0; i < sizeof words / sizeof *words && !rc; i++)
        if (member(o, words[i]))
            rc = add_text(p, words[i], words[i], member(o, words[i]), WORD_MAX);
    json_add_close(p->out, '}');
    return rc;
}

/* ---- a set in -------------------------------------------------------------------------------------------- */

static rag_code too_many(struct rag_err *err)
{
    return rag_err_param(err, RAG_ETOOBIG, "questions", "a set holds at most %d questions", LABELLED_MAX_QUESTIONS);
}

static rag_code parse_list(struct parse *p, const json_t *list, uint32_t *n)
{
    size_t i;
    const json_t *v;
    if (!json_is_array(list))
        return rag_err_param(p->err, RAG_EINVAL, "questions", list ? "questions must be a list" : "questions is missing");
    if (json_array_size(list) > LABELLED_MAX_QUESTIONS)
        return too_many(p->err);
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
    {
        snprintf(p->where, sizeof p->where, "questions[%zu]", i);
        rag_code rc = add_question(p, v);
        if (rc)
            return rc;
    }
    *n = (uint32_t)json_array_size(list);
    return RAG_OK;
}

static rag_code parse_object(struct parse *p, struct str body, struct arena *a, struct labelled_set *set)
{
    json_t *root = NULL;
    const char *key;
    const json_t *v;
    rag_code rc = json_in_parse(body, LABELLED_MAX_BYTES, &root, p->err);
    if (!rc && !json_is_object(root))
        rc = rag_err_set(p->err, RAG_EINVAL, "the body must be a JSON object");
    json_object_foreach(root, key, v) if (!rc && strcmp(key, "collection") != 0 && strcmp(key, "questions") != 0)
        rc = rag_err_param(p->err, RAG_EINVAL, key, "unknown field %.60s", key);
    const json_t *c = rc ? NULL : member(root, "collection");
    if (c && !json_is_string(c))
        rc = rag_err_param(p->err, RAG_EINVAL, "collection", "collection must be a string");
    if (c && !rc) {
        struct str s = json_in_str(c);
        const char *copy = arena_strndup(a, s.ptr, s.len);
        set->collection = str_make(copy, s.len);
        rc = copy ? RAG_OK : RAG_ENOMEM;
    }
    if (!rc)
        rc = parse_list(p, member(root, "questions"), &set->questions);
    json_decref(root);
    return rc;
}

/* A line of white space is none. */
static rag_code parse_lines(struct parse *p, struct str body, uint32_t *n)
{
    struct rag_err why = {0};
    if (body.len > LABELLED_MAX_BYTES)
        return rag_err_set(p->err, RAG_ETOOBIG, "the body has more than %d bytes", LABELLED_MAX_BYTES);
    for (uint32_t number = 1; body.len; number++) {
        const char *nl = memchr(body.ptr, '\n', body.len);
        size_t len = nl ? (size_t)(nl - body.ptr) : body.len;
        struct str line = str_trim(str_make(body.ptr, len));
        len += nl != NULL;
        body = str_make(body.ptr + len, body.len - len);
        if (line.len == 0)
            continue;
        if (++*n > LABELLED_MAX_QUESTIONS)
            return too_many(p->err);
        json_t *o = NULL;
        snprintf(p->where, sizeof p->where, "line %u", number);
        rag_code rc = json_in_parse(line, LABELLED_MAX_BYTES, &o, &why);
        if (rc == RAG_EINVAL)
            rc = rag_err_param(p->err, rc, p->where, "%s: %s", p->where, why.msg);
        else if (!rc)
            rc = add_question(p, o);
        json_decref(o);
        if (rc)
            return rc;
    }
    return RAG_OK;
}

/* A collection's name has the form of a set's, a dot in front allowed. */
static bool collection_ok(struct str c)
{
    while (c.len > 1 && c.ptr[0] == '.' && c.ptr[1] != 0)
        c = str_make(c.ptr + 1, c.len - 1);
    return labelled_name_ok(c);
}

static rag_code finish(const struct labelled_set *set, const struct buf *questions, struct arena *a, struct str *json,
                       struct rag_err *err)
{
    struct buf file;
    buf_init(&file, MEM_API);
    json_add_open(&file, '{');
    json_add_key(&file, "collection");
    json_add_string(&file, set->collection);
    json_add_key(&file, "count");
    json_add_u64(&file, set->questions);
    json_add_key(&file, "updated_ms");
    json_add_u64(&file, (uint64_t)set->updated_ms);
    json_add_key(&file, "questions");
    json_add_open(&file, '[');
    buf_adds(&file, buf_str(questions));
    buf_addz(&file, "]}\n");
    bool failed = buf_failed(&file) || buf_failed(questions);
    const char *copy = failed ? NULL : arena_strndup(a, file.ptr, file.len);
    *json = str_make(copy, file.len);
    buf_clear(&file);
    return copy ? RAG_OK : rag_err_set(err, RAG_ENOMEM, "out of memory");
}

rag_code labelled_parse(enum labelled_form form, struct str body, struct str collection, int64_t now_ms, struct arena *a,
                        struct labelled_set *set, struct str *json, struct rag_err *err)
{
    struct buf questions;
    struct parse p = {.out = &questions, .err = err};
    buf_init(&questions, MEM_API);
    set->collection = collection;
    set->questions = 0;
    set->updated_ms = now_ms;
    *json = (struct str){0};
    rag_code rc = form == LABELLED_JSON ? parse_object(&p, body, a, set) : parse_lines(&p, body, &set->questions);
    if (!rc && !collection_ok(set->collection))
        rc = rag_err_param(err, RAG_EINVAL, "collection", "collection must be 1 to 64 of A-Z a-z 0-9 _ . -");
    if (!rc && set->questions == 0)
        rc = rag_err_param(err, RAG_EINVAL, "questions", "there is no question");
    if (!rc)
        rc = finish(set, &questions, a, json, err);
    buf_clear(&questions);
    return rc;
}

/* ---- the folder ------------------------------------------------------------------------------------------ */

static rag_code make_path(const char *data, struct str name, char *dir, char *file, char *path, size_t size,
                          struct rag_err *err)
{
    RAG_ASSERT(labelled_name_ok(name)); /* before it becomes part of a path */
    snprintf(dir, size, "%s/labelled", data);
    snprintf(file, size, "%.*s.json", (int)name.len, name.ptr);
    int n = snprintf(path, size, "%s/labelled/%s", data, file);
    return n < 0 || (size_t)n >= size ? rag_err_set(err, RAG_ETOOBIG, "the path of the data folder is too long") : RAG_OK;
}

/* The set's name out of a file's; len 0: it is no set. */
static struct str name_of(const char *file)
{
    size_t n = strlen(file);
    struct str name = str_make(file, n > 5 && strcmp(file + n - 5, ".json") == 0 ? n - 5 : 0);
    return labelled_name_ok(name) ? name : (struct str){0};
}

static uint32_t count_sets(const char *dir)
{
    uint32_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += name_of(e->d_name).len != 0;
    if (d)
        closedir(d);
    return n;
}

rag_code labelled_put(const char *data, struct str name, struct str json, bool *created, struct rag_err *err)
{
    char dir[4096], file[4096], path[4096];
    rag_code rc = make_path(data, name, dir, file, path, sizeof path, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&changes);
    *created = access(path, F_OK) != 0;
    if (*created && count_sets(dir) >= LABELLED_MAX_SETS)
        rc = rag_err_set(err, RAG_ECONFLICT, "there are %d sets already: delete one", LABELLED_MAX_SETS);
    if (!rc && (rc = file_mkdirs(dir, 0700)) != RAG_OK)
        rag_err_set(err, rc, "labelled: cannot make the folder");
    if (!rc)
        rc = file_write_atomic(dir, file, json.ptr, json.len, err);
    pthread_mutex_unlock(&changes);
    return rc;
}

rag_code labelled_delete(const char *data, struct str name, struct rag_err *err)
{
    char dir[4096], file[4096], path[4096];
    rag_code rc = make_path(data, name, dir, file, path, sizeof path, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&changes);
    if (unlink(path))
        rc = rag_err_set(err, rag_code_from_errno(errno), errno == ENOENT ? "there is no such set" : "cannot delete the set");
    else if ((rc = file_sync_dir(dir)) != RAG_OK)
        rag_err_set(err, rc, "labelled: cannot sync the folder");
    pthread_mutex_unlock(&changes);
    return rc;
}

/* The description at the front of a file. */
static bool read_head(struct str file, struct arena *a, struct labelled_set *set)
{
    static const char end[] = ",\"questions\":[";
    char head[HEAD_MAX + 2];
    const char *at = memmem(file.ptr, file.len < HEAD_MAX ? file.len : HEAD_MAX, end, sizeof end - 1);
    struct rag_err err = {0};
    json_t *o = NULL;
    if (!at)
        return false;
    int n = snprintf(head, sizeof head, "%.*s}", (int)(at - file.ptr), file.ptr);
    bool ok = json_in_parse(str_make(head, (size_t)n), HEAD_MAX + 1, &o, &err) == RAG_OK;
    const json_t *c = json_object_get(o, "collection"), *count = json_object_get(o, "count"),
                 *ms = json_object_get(o, "updated_ms");
    ok = ok && json_is_string(c) && collection_ok(json_in_str(c)) && json_is_integer(count) && json_is_integer(ms) &&
         json_integer_value(count) >= 0 && json_integer_value(count) <= LABELLED_MAX_QUESTIONS && json_integer_value(ms) >= 0;
    const char *copy = ok ? arena_strndup(a, json_string_value(c), json_string_length(c)) : NULL;
    set->collection = str_make(copy, json_string_length(c));
    set->questions = (uint32_t)json_integer_value(count);
    set->updated_ms = json_integer_value(ms);
    json_decref(o);
    return copy != NULL;
}

static bool read_set(const char *path, struct arena *a, struct labelled_set *set)
{
    struct file_map m;
    if (file_map_open(&m, path))
        return false;
    bool ok = m.len && read_head(str_make(m.ptr, m.len), a, set);
    file_map_clear(&m);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct labelled_set *)a)->name, ((const struct labelled_set *)b)->name);
}

rag_code labelled_list(const char *data, struct arena *a, struct labelled_set **out, uint32_t *n, struct rag_err *err)
{
    char dir[4096], file[4096], path[4096];
    struct labelled_set *sets = arena_array(a, LABELLED_MAX_SETS, sizeof *sets);
    *out = sets;
    *n = 0;
    if (!sets)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    snprintf(dir, sizeof dir, "%s/labelled", data);
    DIR *d = opendir(dir);
    if (!d && errno != ENOENT)
        return rag_err_set(err, rag_code_from_errno(errno), "labelled: cannot read the folder");
    for (struct dirent *e; d && *n < LABELLED_MAX_SETS && (e = readdir(d));) {
        struct str name = name_of(e->d_name);
        const char *copy = name.len ? arena_strndup(a, name.ptr, name.len) : NULL;
        struct labelled_set *set = &sets[*n];
        set->name = str_make(copy, name.len);
        if (copy && !make_path(data, name, dir, file, path, sizeof path, NULL) && read_set(path, a, set))
            ++*n;
    }
    if (d)
        closedir(d);
    qsort(sets, *n, sizeof *sets, by_name);
    return RAG_OK;
}

rag_code labelled_get(const char *data, struct str name, struct arena *a, struct labelled_set *set, struct buf *json,
                      struct rag_err *err)
{
    char dir[4096], file[4096], path[4096];
    struct buf bytes;
    json_t *o = NULL;
    rag_code rc = make_path(data, name, dir, file, path, sizeof path, err);
    if (rc)
        return rc;
    if (access(path, F_OK) && errno == ENOENT)
        return rag_err_set(err, RAG_ENOTFOUND, "there is no such set");
    set->name = name;
    buf_init(&bytes, MEM_API);
    rc = file_read_all(path, FILE_MAX, &bytes, err);
    bool damaged = !rc && (!read_head(buf_str(&bytes), a, set) || (json && json_in_parse(buf_str(&bytes), FILE_MAX, &o, err)));
    json_decref(o);
    if (damaged)
        rc = rag_err_set(err, RAG_ECORRUPT, "labelled/%s is damaged: put the set again", file);
    else if (!rc && json)
        buf_adds(json, str_trim(buf_str(&bytes)));
    buf_clear(&bytes);
    return rc;
}
