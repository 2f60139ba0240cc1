#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "index/bm25.h"
#include "index/filter_eval.h"
#include "index/list_edit.h"
#include "index/manifest.h"
#include "index/segment_int.h"

/* Terms are the blank-separated words of the text: these tests are about the index, not about language. */
static void terms_of(const char *text, struct term_list *l)
{
    term_list_init(l);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (n) {
            struct term *grown = mem_realloc(MEM_TEXT, l->items, (l->n + 1) * sizeof *grown);
            CHECK(grown != NULL);
            l->items = grown;
            l->items[l->n++] = (struct term){.text_off = (uint32_t)l->bytes.len,
                                             .text_len = (uint32_t)n,
                                             .start = (uint32_t)(p - text),
                                             .end = (uint32_t)(p - text + n),
                                             .weight = 1};
            l->cap = l->n;
            buf_add(&l->bytes, p, n);
        }
        p += n + (p[n] == ' ');
    }
}

static void add_doc(struct segment_builder *b, int64_t seq, const char *id, const char *metadata,
                    const char *const *chunks)
{
    struct segment_doc_in d = {.id = str_of(id),
                               .title = STR_LIT("T"),
                               .source = STR_LIT("src"),
                               .metadata_json = str_of(metadata),
                               .version = 1,
                               .seq = seq};
    CHECK_OK(segment_builder_doc(b, &d));
    for (; *chunks; chunks++) {
        struct term_list l;
        terms_of(*chunks, &l);
        CHECK_OK(segment_builder_chunk(
            b, &(struct segment_chunk_in){
                   .text = str_of(*chunks), .end = 9, .page = (uint32_t)seq, .terms = &l, .length = l.n}));
        term_list_clear(&l);
    }
}
#define CHUNKS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct segment *finish(struct segment_builder *b)
{
    struct segment *s;
    CHECK_OK(segment_builder_finish(b, &s));
    segment_builder_free(b);
    return s;
}

static struct segment *small_segment(void)
{
    struct segment_builder *b;
    CHECK_OK(segment_builder_new(42, &b));
    add_doc(b, 10, "a", "{\"lang\":\"zh\",\"year\":2024,\"tags\":[\"x\",\"y\"]}",
            CHUNKS("red \"apple\"\n pie", "green apple"));
    add_doc(b, 12, "b", "{\"lang\":\"en\",\"year\":2026,\"ok\":true}", CHUNKS("blue sky blue"));
    add_doc(b, 11, "c", "{}", CHUNKS("apple apple apple red"));
    return finish(b);
}

static struct segment_list *list_of(struct segment **s, uint32_t n)
{
    struct segment_list *l = list_new_empty(), *next;
    for (uint32_t i = 0; i < n; i++) {
        CHECK_OK(list_edit(l, &(struct list_change){.add = s[i]}, &next));
        list_free(l);
        l = next;
    }
    return l;
}

static uint32_t search(const struct segment_list *l, const char *q, const struct filter *f, uint32_t k,
                       struct arena *a, struct bm25_result *r)
{
    static const struct filter none;
    struct term_list t;
    terms_of(q, &t);
    CHECK_OK(bm25_search(l, &t, f ? f : &none, (struct bm25_params){1.2F, .75F}, k, 0, a, r));
    term_list_clear(&t);
    return r->n;
}

TEST(segment_gives_back_what_was_put_in)
{
    struct segment *s = small_segment();
    struct arena a = {0};
    struct chunk_view v;
    CHECK_EQ(segment_n_docs(s), 3);
    CHECK_EQ(segment_n_chunks(s), 4);
    segment_chunk(s, 1, &v);
    CHECK_STR(v.document_id, "a");
    CHECK_EQ(v.ordinal, 1);
    CHECK_EQ(v.seq, 10);
    CHECK_EQ(v.page, 10);
    segment_chunk(s, 0, &v);
    CHECK_STR(v.text_json, "red \\\"apple\\\"\\n pie");
    CHECK_STR(segment_chunk_text(s, 0, &a), "red \"apple\"\n pie");
    CHECK_EQ(segment_find_seq(s, 11), 2);
    CHECK_EQ(segment_find_seq(s, 13), UINT32_MAX);
    arena_clear(&a);
    segment_unref(s);
}

TEST(bm25_equals_the_formula)
{
    struct segment *s = small_segment();
    struct segment_list *l = list_of(&s, 1);
    struct arena a = {0};
    struct bm25_result r;
    CHECK_EQ(search(l, "blue sky", NULL, 10, &a, &r), 1);
    double idf = log(1 + (4 - 1 + .5) / 1.5), avg = (3 + 2 + 3 + 4) / 4.0, norm = 1.2 * (.25 + .75 * 3 / avg);
    CHECK_NEAR(r.hits[0].score, idf * 2 * 2.2 / (2 + norm) + idf * 2.2 / (1 + norm), 1e-5);
    CHECK_NEAR(r.hits[0].mass, 2 * idf, 1e-5);
    CHECK_EQ(search(l, "apple", NULL, 1, &a, &r), 1);
    CHECK_EQ(r.hits[0].ref.chunk, 3);
    CHECK_EQ(search(l, "nothing here", NULL, 5, &a, &r), 0);
    CHECK(r.idf_mass > 0 && !(r.known_mass > 0));
    arena_clear(&a);
    list_free(l);
    segment_unref(s);
}

TEST(merge_keeps_every_score_and_drops_the_dead)
{
    struct segment_builder *b;
    struct segment *s[2] = {small_segment(), NULL}, *m;
    struct arena a = {0};
    struct bm25_result r1, r2;
    CHECK_OK(segment_builder_new(42, &b));
    add_doc(b, 20, "d", "{\"lang\":\"zh\"}", CHUNKS("red sky", "apple tree"));
    s[1] = finish(b);
    struct segment_list *l = list_of(s, 2), *cut, *merged;
    int64_t dead = 12;
    CHECK_OK(list_edit(l, &(struct list_change){.dead = &dead, .n_dead = 1}, &cut));
    CHECK_EQ(cut->n_docs, 3);
    CHECK_EQ(cut->n_chunks, 5);
    CHECK_EQ(l->n_chunks, 6);
    CHECK_EQ(search(cut, "blue", NULL, 5, &a, &r1), 0);
    CHECK_OK(segment_builder_new(42, &b));
    for (uint32_t i = 0; i < cut->n; i++)
        CHECK_OK(segment_builder_merge(b, cut->e[i].segment, cut->e[i].live));
    m = finish(b);
    CHECK_EQ(segment_n_docs(m), 3);
    merged = list_of(&m, 1);
    search(cut, "red sky apple", NULL, 9, &a, &r1);
    search(merged, "red sky apple", NULL, 9, &a, &r2);
    CHECK_EQ(r1.n, 5);
    CHECK_EQ(r2.n, 5);
    for (uint32_t i = 0; i < r2.n; i++) { /* df of the dead document's terms is gone: only sky's changes */
        struct chunk_view v1, v2;
        segment_chunk(cut->e[r1.hits[i].ref.entry].segment, r1.hits[i].ref.chunk, &v1);
        segment_chunk(m, r2.hits[i].ref.chunk, &v2);
        CHECK(str_eq(v1.document_id, v2.document_id));
        CHECK_EQ(v1.page, v2.page);
    }
    struct filter_clause c = {STR_LIT("tags"), FILTER_ANY_OF,
                              (struct value[]){{VALUE_STRING, 0, STR_LIT("y")}}, 1};
    search(merged, "apple", &(struct filter){&c, 1}, 9, &a, &r2);
    CHECK_EQ(r2.n, 1);
    arena_clear(&a);
    list_free(l);
    list_free(cut);
    list_free(merged);
    segment_unref(m);
    segment_unref(s[0]);
    segment_unref(s[1]);
}

static unsigned matching(const struct segment *s, struct filter_clause c)
{
    struct arena a = {0};
    uint64_t *bits;
    unsigned mask = 0;
    CHECK_OK(filter_docs(s, &(struct filter){&c, 1}, &a, &bits));
    mask = (unsigned)bits[0];
    arena_clear(&a);
    return mask;
}

TEST(filters_follow_their_operators)
{
    struct segment *s = small_segment(); /* bit 0: a, 1: b, 2: c */
    struct value zh = {VALUE_STRING, 0, STR_LIT("zh")}, y25 = {VALUE_NUMBER, 2025, {0}},
                 y24 = {VALUE_NUMBER, 2024, {0}};
    struct value yes = {VALUE_BOOL, 1, {0}}, one = {VALUE_NUMBER, 1, {0}},
                 ids[] = {{VALUE_STRING, 0, STR_LIT("c")}, {VALUE_STRING, 0, STR_LIT("b")}};
    struct str lang = STR_LIT("lang"), year = STR_LIT("year"), ok = STR_LIT("ok");
    CHECK_EQ(matching(s, (struct filter_clause){lang, FILTER_ANY_OF, &zh, 1}), 1);
    CHECK_EQ(matching(s, (struct filter_clause){lang, FILTER_NE, &zh, 1}), 6);
    CHECK_EQ(matching(s, (struct filter_clause){year, FILTER_GT, &y24, 1}), 2);
    CHECK_EQ(matching(s, (struct filter_clause){year, FILTER_GTE, &y24, 1}), 3);
    CHECK_EQ(matching(s, (struct filter_clause){year, FILTER_LT, &y25, 1}), 1);
    CHECK_EQ(matching(s, (struct filter_clause){year, FILTER_LTE, &y24, 1}), 1);
    CHECK_EQ(matching(s, (struct filter_clause){year, FILTER_LT, &zh, 1}), 0);
    CHECK_EQ(matching(s, (struct filter_clause){ok, FILTER_ANY_OF, &yes, 1}), 2);
    CHECK_EQ(matching(s, (struct filter_clause){ok, FILTER_ANY_OF, &one, 1}), 0);
    CHECK_EQ(matching(s, (struct filter_clause){ok, FILTER_EXISTS, NULL, 0}), 2);
    CHECK_EQ(matching(s, (struct filter_clause){ok, FILTER_MISSING, NULL, 0}), 5);
    CHECK_EQ(matching(s, (struct filter_clause){STR_LIT("document_id"), FILTER_ANY_OF, ids, 2}), 6);
    CHECK_EQ(matching(s, (struct filter_clause){STR_LIT("nope"), FILTER_NE, &zh, 1}), 7);
    segment_unref(s);
}

TEST(damaged_bytes_are_refused)
{
    struct segment *s = small_segment(), *t;
    struct rag_err err;
    char *copy = mem_strndup(MEM_MISC, s->base, s->len);
    CHECK_OK(segment_open_bytes(str_make(copy, s->len), 42, &t, &err));
    segment_unref(t);
    CHECK_EQ(segment_open_bytes(str_make(copy, s->len), 43, &t, &err), RAG_ECONFLICT);
    for (size_t n = 0; n < s->len; n += 7)
        CHECK_EQ(segment_open_bytes(str_make(copy, n), 42, &t, &err), RAG_ECORRUPT);
    for (size_t i = 16; i < s->len; i += 3) { /* any flipped byte */
        copy[i] ^= 0x41;
        CHECK(segment_open_bytes(str_make(copy, s->len), 42, &t, &err) != RAG_OK);
        copy[i] ^= 0x41;
    }
    uint32_t newer = SEGMENT_VERSION + 1;
    memcpy(copy + 8, &newer, 4);
    CHECK_EQ(segment_open_bytes(str_make(copy, s->len), 42, &t, &err), RAG_EVERSION);
    uint32_t older = SEGMENT_VERSION - 1;
    memcpy(copy + 8, &older, 4);
    CHECK_EQ(segment_open_bytes(str_make(copy, s->len), 42, &t, &err), RAG_ECONFLICT);
    mem_free(MEM_MISC, copy);
    segment_unref(s);
}

TEST(a_file_is_the_same_segment)
{
    char dir[] = "/tmp/ragd-index-XXXXXX", path[64];
    CHECK(mkdtemp(dir) != NULL);
    struct segment *s = small_segment(), *t;
    struct rag_err err;
    CHECK_OK(segment_write(s, dir, "1.seg", &t, &err));
    CHECK_EQ(t->len, s->len);
    CHECK(memcmp(t->base, s->base, s->len) == 0);
    segment_unref(t);
    segment_unref(s);
    snprintf(path, sizeof path, "%s/1.seg", dir);
    unlink(path);
    rmdir(dir);
}

TEST(building_survives_each_failed_allocation)
{
    bool fired = true;
    int64_t before = mem_in_use(MEM_INDEX);
    for (unsigned nth = 1; fired; nth++) {
        struct segment_builder *b = NULL;
        struct segment *s = NULL;
        struct term_list l;
        terms_of("one two three two", &l);
        fault_arm_alloc(nth);
        rag_code rc = segment_builder_new(1, &b);
        if (!rc)
            rc = segment_builder_doc(
                b, &(struct segment_doc_in){.id = STR_LIT("x"), .metadata_json = STR_LIT("{\"k\":[1,2]}")});
        if (!rc)
            rc = segment_builder_chunk(
                b, &(struct segment_chunk_in){.text = STR_LIT("t"), .terms = &l, .length = 4});
        if (!rc)
            rc = segment_builder_finish(b, &s);
        fired = fault_disarm();
        CHECK((rc == RAG_OK) == (s != NULL));
        segment_unref(s);
        segment_builder_free(b);
        term_list_clear(&l);
    }
    CHECK_EQ(mem_in_use(MEM_INDEX), before);
}

TEST(manifest_reads_back_and_refuses_paths)
{
    struct manifest m, n;
    struct buf b;
    struct rag_err err;
    manifest_init(&m);
    buf_init(&b, MEM_MISC);
    m.next_file = 12;
    struct manifest_entry e = {.collection = 3, .file = "0000000011.seg"};
    BUF_ADD_VALUE(&m.entries, e);
    manifest_format(&m, &b);
    manifest_init(&n);
    CHECK_OK(manifest_parse(buf_str(&b), &n, &err));
    CHECK_EQ(n.next_file, 12);
    CHECK_EQ(n.entries.len, sizeof e);
    const char *bad[] = {
        "", "{}",
        "{\"ragd_manifest\":1,\"next_file\":1,\"segments\":[{\"collection\":1,\"file\":\"../x.seg\"}]}",
        "{\"ragd_manifest\":1,\"next_file\":0,\"segments\":[]}",
        "{\"ragd_manifest\":1,\"next_file\":9223372036854775807,\"segments\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(manifest_parse(str_of(bad[i]), &n, &err), RAG_ECORRUPT);
    CHECK_EQ(manifest_parse(STR_LIT("{\"ragd_manifest\":2,\"next_file\":1,\"segments\":[]}"), &n, &err),
             RAG_EVERSION);
    manifest_clear(&m);
    manifest_clear(&n);
    buf_clear(&b);
}

/* Texts of many lengths: the buffers' sizes are then no multiples of eight, and padding may be what fails. */
TEST(sealing_survives_each_failed_allocation_at_any_length)
{
    struct term_list l;
    char text[4000];
    memset(text, 'x', sizeof text);
    terms_of("a bb ccc", &l);
    for (size_t n = 3001; n < 3017; n++) {
        bool fired = true;
        for (unsigned nth = 1; fired; nth++) {
            struct segment_builder *b;
            struct segment *s = NULL;
            CHECK_OK(segment_builder_new(1, &b));
            CHECK_OK(segment_builder_doc(b, &(struct segment_doc_in){.id = str_make(text, n % 17 + 1)}));
            CHECK_OK(segment_builder_chunk(
                b, &(struct segment_chunk_in){.text = str_make(text, n), .terms = &l, .length = 3}));
            fault_arm_alloc(nth);
            rag_code rc = segment_builder_finish(b, &s);
            fired = fault_disarm();
            CHECK((rc == RAG_OK) == (s != NULL));
            segment_unref(s);
            segment_builder_free(b);
        }
    }
    term_list_clear(&l);
}

TEST(bad_metadata_is_refused_and_leaves_the_builder_as_it_was)
{
    struct segment_builder *b;
    struct arena a = {0};
    struct bm25_result r;
    const char *bad[] = {"[1,2]", "{\"a\":1e999}", "{\"a\":", "{\"a\":123456789012345678901234567890}",
                         "null"};
    CHECK_OK(segment_builder_new(42, &b));
    add_doc(b, 1, "a", "{\"k\":1}", CHUNKS("red apple"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(
            segment_builder_doc(
                b, &(struct segment_doc_in){.id = STR_LIT("bad"), .metadata_json = str_of(bad[i]), .seq = 9}),
            RAG_EFORMAT);
    add_doc(b, 2, "b", "{\"k\":2}", CHUNKS("green apple"));
    struct segment *s = finish(b);
    CHECK_EQ(segment_n_docs(s), 2);
    CHECK_EQ(segment_find_seq(s, 9), UINT32_MAX);
    struct segment_list *l = list_of(&s, 1);
    CHECK_EQ(search(l, "apple", NULL, 9, &a, &r), 2);
    arena_clear(&a);
    list_free(l);
    segment_unref(s);
}

/* ragd writes no such documents, but a file or a database from elsewhere may hold them. */
TEST(documents_without_chunks_do_not_confuse_the_counts)
{
    struct segment_builder *b;
    CHECK_OK(segment_builder_new(42, &b));
    add_doc(b, 1, "none", "{}", CHUNKS(NULL));
    add_doc(b, 2, "some", "{}", CHUNKS("red", "green"));
    add_doc(b, 3, "last", "{}", CHUNKS(NULL));
    struct segment *s = finish(b);
    struct segment_list *l = list_of(&s, 1), *next;
    CHECK_EQ(l->n_docs, 1);
    CHECK_OK(list_edit(l, &(struct list_change){.dead = (int64_t[]){1, 3, 1}, .n_dead = 3}, &next));
    CHECK_EQ(next->n_docs, 1);
    CHECK_EQ(next->n_chunks, 2);
    list_free(next);
    CHECK_OK(list_edit(l, &(struct list_change){.dead = (int64_t[]){2, 2, 1}, .n_dead = 3}, &next));
    CHECK_EQ(next->n, 0);
    list_free(next);
    list_free(l);
    segment_unref(s);
}

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

/* The k best of several segments with dead documents are the first k of everything in order; ties by place. */
TEST(the_k_best_are_the_head_of_the_full_ranking)
{
    struct segment *s[5];
    uint32_t x = 12345;
    int64_t dead[40], seq = 1;
    uint32_t n_dead = 0;
    for (int i = 0; i < 5; i++) {
        struct segment_builder *b;
        CHECK_OK(segment_builder_new(42, &b));
        for (int d = 0; d < 30; d++, seq++) {
            char text[200] = "";
            for (uint32_t w = 0, n = 1 + next_random(&x) % 9; w < n; w++)
                snprintf(text + strlen(text), sizeof text - strlen(text), "w%u ", next_random(&x) % 12);
            add_doc(b, seq, "d", "{}", CHUNKS(text, text)); /* the same chunk twice: ties */
            if (next_random(&x) % 5 == 0 && n_dead < 40)
                dead[n_dead++] = seq;
        }
        s[i] = finish(b);
    }
    struct segment_list *all = list_of(s, 5), *l;
    CHECK_OK(list_edit(all, &(struct list_change){.dead = dead, .n_dead = n_dead}, &l));
    struct arena a = {0};
    for (int q = 0; q < 20; q++) {
        char text[64];
        struct bm25_result full, head;
        snprintf(text, sizeof text, "w%u w%u w%u", next_random(&x) % 12, next_random(&x) % 12,
                 next_random(&x) % 14);
        search(l, text, NULL, 1000, &a, &full);
        for (uint32_t i = 0; i < full.n; i++) {
            struct chunk_view v;
            CHECK(bitmap_get(l->e[full.hits[i].ref.entry].live, full.hits[i].ref.chunk));
            segment_chunk(l->e[full.hits[i].ref.entry].segment, full.hits[i].ref.chunk, &v);
            for (uint32_t d = 0; d < n_dead; d++)
                CHECK(v.seq != dead[d]);
            if (i && !(full.hits[i].score < full.hits[i - 1].score))
                CHECK(full.hits[i].ref.entry > full.hits[i - 1].ref.entry ||
                      (full.hits[i].ref.entry == full.hits[i - 1].ref.entry &&
                       full.hits[i].ref.chunk > full.hits[i - 1].ref.chunk));
        }
        for (uint32_t k = 0; k < 30; k += 7) {
            search(l, text, NULL, k, &a, &head);
            CHECK_EQ(head.n, k < full.n ? k : full.n);
            for (uint32_t i = 0; i < head.n; i++)
                CHECK(head.hits[i].ref.entry == full.hits[i].ref.entry &&
                      head.hits[i].ref.chunk == full.hits[i].ref.chunk);
        }
        arena_reset(&a);
    }
    arena_clear(&a);
    list_free(all);
    list_free(l);
    for (int i = 0; i < 5; i++)
        segment_unref(s[i]);
}

TEST(a_passed_deadline_cuts_between_segments_and_what_is_complete_is_no_timeout)
{
    struct segment *s[2] = {small_segment(), small_segment()};
    struct segment_list *one = list_of(s, 1), *two = list_of(s, 2);
    struct arena a = {0};
    struct bm25_result r;
    struct term_list t;
    terms_of("apple", &t);
    CHECK_OK(bm25_search(one, &t, &(struct filter){0}, (struct bm25_params){1.2F, .75F}, 9, 1, &a, &r));
    CHECK_EQ(r.n, 2);
    CHECK_EQ(bm25_search(two, &t, &(struct filter){0}, (struct bm25_params){1.2F, .75F}, 9, 1, &a, &r),
             RAG_ETIMEOUT);
    CHECK_EQ(r.n, 2);
    term_list_clear(&t);
    arena_clear(&a);
    list_free(one);
    list_free(two);
    segment_unref(s[0]);
    segment_unref(s[1]);
}

TEST(list_edit_survives_each_failed_allocation)
{
    struct segment *s[2] = {small_segment(), small_segment()};
    struct segment_list *l = list_of(s, 1), *next;
    int64_t dead = 10, before = mem_in_use(MEM_INDEX);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        next = NULL;
        fault_arm_alloc(nth);
        rag_code rc = list_edit(l, &(struct list_change){.dead = &dead, .n_dead = 1, .add = s[1]}, &next);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        if (!rc)
            CHECK_EQ(next->n_docs, 4);
        list_free(next);
        CHECK_EQ(mem_in_use(MEM_INDEX), before);
        CHECK_EQ(l->n_docs, 3);
    }
    list_free(l);
    segment_unref(s[0]);
    segment_unref(s[1]);
}
