/* /v1/labelled: sets of labelled questions (pipeline/labelled.h). All of it touches the disk, so it runs on the threads of
 * the uploads. */
#include <string.h>
#include <strings.h>

#include "api/api_int.h"
#include "pipeline/labelled.h"
#include "sys/clock.h"
#include "wire/json_out.h"

static void add_members(struct buf *out, struct str name, const struct labelled_set *set)
{
    json_add_key(out, "name");
    json_add_string(out, name);
    json_add_key(out, "collection");
    json_add_string(out, set->collection);
    json_add_key(out, "questions");
    json_add_u64(out, set->questions);
    json_add_key(out, "updated_ms");
    json_add_u64(out, (uint64_t)set->updated_ms);
}

static void reply_failure(struct request *rq, rag_code rc, const struct rag_err *err)
{
    if (rc == RAG_ENOTFOUND)
        reply_error(rq, 404, "labelled_not_found", "name", "there is no such set");
    else
        reply_rc(rq, rc, err, "store");
}

/* ---- on an upload thread --------------------------------------------------------------------------------- */

static void list_sets(struct request *rq)
{
    struct labelled_set *sets;
    uint32_t n;
    struct rag_err err = {0};
    struct buf *out = &rq->out;
    rag_code rc = labelled_list(rq->api->opt.data, &rq->arena, &sets, &n, &err);
    if (rc) {
        reply_failure(rq, rc, &err);
        return;
    }
    json_add_open(out, '{');
    json_add_key(out, "sets");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (!auth_may_see(rq, sets[i].collection))
            continue;
        json_add_open(out, '{');
        add_members(out, sets[i].name, &sets[i]);
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
    json_add_close(out, '}');
    reply_json(rq, 200);
}

static void get_set(struct request *rq)
{
    struct labelled_set set;
    struct rag_err err = {0};
    struct buf file;
    buf_init(&file, MEM_API);
    rag_code rc = labelled_get(rq->api->opt.data, rq->path[2], &rq->arena, &set, &file, &err);
    if (rc) {
        reply_failure(rq, rc, &err);
    } else if (auth_collection(rq, set.collection)) {
        struct str members = buf_str(&file); /* as they are, after the name */
        json_add_open(&rq->out, '{');
        json_add_key(&rq->out, "name");
        json_add_string(&rq->out, rq->path[2]);
        json_add_raw(&rq->out, members.len ? str_make(members.ptr + 1, members.len - 1) : members);
        reply_json(rq, 200);
    }
    buf_clear(&file);
}

static enum labelled_form form_of(struct request *rq)
{
    const char *type = request_header(rq, "Content-Type");
    bool lines = type && (strncasecmp(type, "application/x-ndjson", 20) == 0 || strncasecmp(type, "application/jsonl", 17) == 0);
    return lines ? LABELLED_LINES : LABELLED_JSON;
}

/* Whether the set that is there, if any, is of a collection that the key may use. */
static bool may_change(struct request *rq, rag_code *rc, struct rag_err *err)
{
    struct labelled_set old;
    *rc = labelled_get(rq->api->opt.data, rq->path[2], &rq->arena, &old, NULL, err);
    return *rc || auth_collection(rq, old.collection);
}

static void put_set(struct request *rq)
{
    struct labelled_set set = {.collection = *(struct str *)rq->state};
    struct str json;
    struct rag_err err = {0};
    bool created;
    rag_code rc;
    if (!may_change(rq, &rc, &err)) /* none there, or a damaged one: it is replaced */
        return;
    rc = labelled_parse(form_of(rq), buf_str(&rq->body), set.collection, clock_unix_ms(), &rq->arena, &set, &json, &err);
    if (!rc && !auth_collection(rq, set.collection))
        return;
    if (!rc)
        rc = labelled_put(rq->api->opt.data, rq->path[2], json, &created, &err);
    if (rc) {
        reply_failure(rq, rc, &err);
        return;
    }
    json_add_open(&rq->out, '{');
    add_members(&rq->out, rq->path[2], &set);
    json_add_close(&rq->out, '}');
    reply_json(rq, created ? 201 : 200);
}

static void delete_set(struct request *rq)
{
    struct rag_err err = {0};
    rag_code rc;
    if (!may_change(rq, &rc, &err))
        return;
    if (!rc || rc == RAG_ECORRUPT)
        rc = labelled_delete(rq->api->opt.data, rq->path[2], &err);
    if (rc) {
        reply_failure(rq, rc, &err);
        return;
    }
    reply_deleted(rq);
}

static void work_on(struct request *rq)
{
    if (rq->n_path == 2)
        list_sets(rq);
    else if (rq->method == HTTP_PUT)
        put_set(rq);
    else if (rq->method == HTTP_DELETE)
        delete_set(rq);
    else
        get_set(rq);
    request_resume(rq, NULL);
}

/* ---- on the connection's thread -------------------------------------------------------------------------- */

static void hand_over(struct request *rq)
{
    if (!rq->api->opt.data) {
        reply_error(rq, 404, "no_data_folder", NULL, "this server keeps no labelled questions");
        return;
    }
    if (rq->n_path == 3 && !labelled_name_ok(rq->path[2])) {
        reply_error(rq, 400, "invalid", "name", "a set's name is 1 to 64 of A-Z a-z 0-9 _ . -, no dot first");
        return;
    }
    rq->work = work_on;
    work_submit(&rq->api->uploads, rq);
}

void route_labelled(struct request *rq)
{
    hand_over(rq);
}

void route_labelled_put(struct request *rq)
{
    static const char *const names[] = {"collection"};
    struct str *collection = arena_alloc(&rq->arena, sizeof *collection);
    if (!collection) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return;
    }
    if (!request_args(rq, names, collection, 1) || (form_of(rq) == LABELLED_JSON && !request_is_json(rq)))
        return;
    if (!collection->ptr)
        *collection = STR_LIT("default");
    rq->state = collection;
    hand_over(rq);
}
