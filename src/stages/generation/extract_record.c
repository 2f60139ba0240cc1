/* Rows of tables and sheets, cut into cells. A row of a sheet answers with the fields that were asked for and those that say
 * which row it is. */
#include "stages/generation/extract_int.h"

enum { MAX_CELLS = 32 };

static const struct unit *field(const struct extract *x, const struct extract_chunk *c, uint32_t i)
{
    return &x->units[c->first_unit + i];
}

static bool is_named(struct str key, const char *const *names)
{
    for (; *names; names++)
        if (str_eqz(key, *names))
            return true;
    return false;
}

/* A row of questions and answers: the field that answers, or NO_UNIT. */
static uint32_t answer_field(const struct extract *x, const struct extract_chunk *c)
{
    static const char *const names[] = {
        "answer",   "Answer",   "回答",     "答案",  "答复",  "参考回答", "标准答案", "参考话术", "话术",
        "应对话术", "建议回答", "推荐话术", "reply", "Reply", "response", "Response", NULL};
    for (uint32_t i = 0; i < c->n_units; i++) {
        struct str key, value;
        if (extract_pair(unit_text(x, field(x, c, i)), &key, &value) && is_named(key, names) && value.len)
            return c->first_unit + i;
    }
    return NO_UNIT;
}

/* Key bytes of a field, to tell a match in the key from one in the value. */
static bool matched_in_value(const struct extract *x, const struct unit *u)
{
    struct str key, value;
    return u->own && extract_pair(unit_text(x, u), &key, &value) && u->last_at > u->start + key.len + 1;
}

static bool matched_in_key(const struct extract *x, const struct unit *u)
{
    struct str key, value;
    return u->own && extract_pair(unit_text(x, u), &key, &value) && u->first_at < u->start + key.len;
}

uint64_t extract_fields(const struct extract *x, const struct extract_chunk *c)
{
    enum { SHORT_ROW = 400 /* bytes */ };
    uint32_t n = c->n_units < 64 ? c->n_units : 64, qa = answer_field(x, c);
    uint64_t asked = 0, naming = n ? 1 : 0, all = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1, typed = 0;
    if (qa != NO_UNIT && qa - c->first_unit < n)
        return (uint64_t)1 << (qa - c->first_unit);
    for (uint32_t i = 0; i < n; i++) {
        const struct unit *u = field(x, c, i);
        if (matched_in_value(x, u))
            naming |= (uint64_t)1 << i;
        else if (matched_in_key(x, u) && mask_weight(x, u->own) >= 0.1F)
            asked |= (uint64_t)1 << i;
        else if (x->qa->answer_type == ANSWER_NUMBER &&
                 extract_answers_type(ANSWER_NUMBER, u, unit_text(x, u)))
            typed |= (uint64_t)1 << i;
    }
    if (asked)
        return asked | naming;
    if (c->text.len <= SHORT_ROW)
        return all;
    return typed ? naming | (typed & (~typed + 1)) : naming | (all & 0x3f);
}

/* "column: cell; column: cell". */
static uint32_t cells_of_parts(struct str line, struct cell *out, uint32_t most)
{
    struct str part[MAX_CELLS];
    uint32_t n = extract_parts(line, part, most < MAX_CELLS ? most : MAX_CELLS);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct cell){.value = part[i]};
        (void)extract_pair(part[i], &out[i].key, &out[i].value);
    }
    return n;
}

/* The line that names the columns: above the row, or in the heading path of the rest of a long table. */
static struct str head_line(const struct extract *x, const struct unit *u)
{
    if (u->head_row != NO_UNIT)
        return unit_text(x, &x->units[u->head_row]);
    for (struct str path = x->chunks[u->chunk].view.heading_path; path.len;) {
        struct str e = path_next(&path);
        if (memmem(e.ptr, e.len, " | ", 3))
            return e;
    }
    return str_make(NULL, 0);
}

static uint32_t cells_of_record(const struct extract *x, const struct extract_chunk *c, struct cell *out, uint32_t most)
{
    uint32_t n = 0;
    for (; n < c->n_units && n < most && field(x, c, n)->kind == UNIT_FIELD; n++) {
        out[n] = (struct cell){.value = unit_text(x, field(x, c, n))};
        (void)extract_pair(out[n].value, &out[n].key, &out[n].value);
    }
    return n;
}

uint32_t extract_row_cells(const struct extract *x, const struct unit *u, struct cell *out, uint32_t most)
{
    struct str head[MAX_CELLS], value[MAX_CELLS];
    if (u->kind == UNIT_RECORD)
        return cells_of_record(x, &x->chunks[u->chunk], out, most);
    uint32_t n = cells_of_parts(unit_text(x, u), out, most);
    if (n)
        return n;
    struct str line = head_line(x, u);
    uint32_t n_head = line.len ? extract_cells(line, head, MAX_CELLS) : 0;
    n = extract_cells(unit_text(x, u), value, most < MAX_CELLS ? most : MAX_CELLS);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct cell){.key = i && i < n_head ? head[i] : str_make(NULL, 0), .value = value[i]};
    return n;
}
