#include <stdio.h>
#include <string.h>

#include "sim.h"

static struct model *find(struct sim *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_models; i++)
        if (!strcmp(s->models[i].name, name))
            return &s->models[i];
    return NULL;
}

struct model *sim_model(struct sim *s, const char *name)
{
    struct model *m = find(s, name);
    return m ? m : &s->models[0];
}

bool sim_set(struct sim *s, const char *name, const char *text, char why[200])
{
    struct model *m = find(s, name);
    if (!m && (s->n_models == MAX_MODELS || !*name || strlen(name) >= sizeof m->name)) {
        snprintf(why, 200, "a name of 1 to 127 bytes, at most %d models", MAX_MODELS);
        return false;
    }
    struct spec *p = spec_parse(text, why);
    if (!p)
        return false;
    if (!m) {
        m = &s->models[s->n_models++];
        snprintf(m->name, sizeof m->name, "%s", name);
    }
    spec_unref(m->spec); /* calls that began with it keep it */
    m->spec = p;
    return true;
}

static void counters_reset(struct counters *n)
{
    *n = (struct counters){.open = n->open, .most_open = n->open};
}

void sim_reset(struct sim *s)
{
    for (uint32_t i = 0; i < s->n_models; i++)
        counters_reset(&s->models[i].n);
    counters_reset(&s->total);
    s->connections = s->connections_open;
    s->last_authorized = false;
    s->last_request_id[0] = s->last_traceparent[0] = 0;
    for (int i = 0; i < KEPT_BODIES; i++)
        buf_free(&s->bodies[i]);
    s->n_bodies = 0;
}

static void write_counters(struct buf *b, const struct counters *n)
{
    const struct {
        const char *name;
        uint64_t n;
    } whole[] = {{"requests", n->requests},
                 {"completed", n->completed},
                 {"client_closed", n->client_closed},
                 {"tokens_sent", n->tokens_sent},
                 {"calls_billed", n->calls_billed},
                 {"billed_prompt", n->billed_prompt},
                 {"billed_cached", n->billed_cached},
                 {"billed_completion", n->billed_completion},
                 {"open", n->open},
                 {"most_open", n->most_open}};
    buf_str(b, "{");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        buf_fmt(b, "\"%s\":%llu,", whole[i].name, (unsigned long long)whole[i].n);
    buf_fmt(b, "\"worst_late_ms\":%.3f,\"close_ms_last\":%.3f,\"close_ms_worst\":%.3f,\"faults\":{",
            (double)n->worst_late_ns / 1e6, (double)n->close_ns_last / 1e6, (double)n->close_ns_worst / 1e6);
    const char *comma = "";
    for (int i = 1; i < N_FAULTS; i++) {
        if (!n->faults[i])
            continue;
        buf_fmt(b, "%s\"%s\":%llu", comma, fault_names[i], (unsigned long long)n->faults[i]);
        comma = ",";
    }
    buf_str(b, "}}");
}

void sim_stats(struct sim *s, struct buf *out)
{
    buf_fmt(out, "{\"connections\":%llu,\"connections_open\":%llu,\"last_request\":{\"authorization\":%s,\"x_request_id\":",
            (unsigned long long)s->connections, (unsigned long long)s->connections_open,
            s->last_authorized ? "true" : "false");
    buf_json(out, s->last_request_id, strlen(s->last_request_id));
    buf_str(out, ",\"traceparent\":");
    buf_json(out, s->last_traceparent, strlen(s->last_traceparent));
    buf_str(out, "},\"total\":");
    write_counters(out, &s->total);
    buf_str(out, ",\"models\":{");
    for (uint32_t i = 0; i < s->n_models; i++) {
        buf_str(out, i ? "," : "");
        buf_json(out, s->models[i].name, strlen(s->models[i].name));
        buf_str(out, ":");
        write_counters(out, &s->models[i].n);
    }
    buf_str(out, "}}");
}

void sim_keep_body(struct sim *s, const char *p, size_t n)
{
    struct buf *b = &s->bodies[s->n_bodies++ % KEPT_BODIES];
    b->len = 0;
    buf_add(b, p, n);
}

void sim_bodies(struct sim *s, struct buf *out)
{
    uint64_t first = s->n_bodies > KEPT_BODIES ? s->n_bodies - KEPT_BODIES : 0;
    buf_str(out, "{\"bodies\":[");
    for (uint64_t i = first; i < s->n_bodies; i++) {
        buf_str(out, i > first ? "," : "");
        buf_add(out, s->bodies[i % KEPT_BODIES].p, s->bodies[i % KEPT_BODIES].len);
    }
    buf_str(out, "]}");
}
