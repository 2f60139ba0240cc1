/* The data folder at work: documents in, lists published, restart, damage, merges, deletes. */
#include "test.h"

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/bm25.h"
#include "pipeline/knowledge.h"

static struct analyzer *an;
static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void fresh_dir(void)
{
    if (!an)
        CHECK_OK(analyzer_new(NULL, 0, &an, NULL));
    strcpy(dir, "/tmp/ragd-knowledge-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void drop_dir(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct knowledge *open_it(uint32_t flush_chunks)
{
    struct knowledge *k;
    struct rag_err err = {0};
    struct knowledge_options opt = {.dir = dir, .chunker = {256, 32}, .analyzer = an, .flush_chunks = flush_chunks,
                                    .wait_ready = true};
    rag_code rc = knowledge_open(&opt, &k, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return k;
}

static void set_text(struct doc_input *d, const char *id, const char *text)
{
    *d = (struct doc_input){.id = str_of(id)};
    text_doc_init(&d->doc);
    buf_addz(&d->doc.text, text);
    struct text_block b = {.start = 0, .end = (uint32_t)strlen(text), .kind = BLOCK_PARAGRAPH};
    BUF_ADD_VALUE(&d->doc.blocks, b);
}

static struct doc_result put(struct knowledge *k, const char *id, const char *text)
{
    struct doc_input d;
    struct doc_result r = {0};
    set_text(&d, id, text);
    d.metadata_json = str_of(strlen(id) % 2 ? "{\"odd\":true}" : "{\"odd\":false}");
    struct job j = {.kind = JOB_PUT, .collection = STR_LIT("default"), .docs = &d, .results = &r, .n = 1};
    CHECK_OK(knowledge_apply(k, &j));
    text_doc_clear(&d.doc);
    return r;
}

static rag_code delete_id(struct knowledge *k, const char *id)
{
    struct doc_input d = {.id = str_of(id)};
    struct doc_result r = {0};
    struct job j = {.kind = JOB_DELETE, .collection = STR_LIT("default"), .docs = &d, .results = &r, .n = 1};
    rag_code rc = knowledge_apply(k, &j);
    return rc ? rc : r.code;
}

static uint32_t count(struct knowledge *k, const char *q)
{
    const struct segment_list *l;
    struct arena a = {0};
    struct term_list t;
    struct bm25_result r;
    term_list_init(&t);
    CHECK_OK(analyzer_run(an, str_of(q), ANALYZE_QUERY, &t));
    CHECK_OK(knowledge_pin(k, STR_LIT("default"), &l));
    CHECK_OK(bm25_search(l, &t, &(struct filter){0}, (struct bm25_params){1.2F, .75F}, 1000, 0, &a, &r));
    knowledge_unpin(k);
    term_list_clear(&t);
    arena_clear(&a);
    return r.n;
}

/* A word of its own for each number: letters only, so that nothing is split off. */
static const char *word_of(int i, char out[8])
{
    snprintf(out, 8, "zq%c%c%c", 'a' + i / 676, 'a' + i / 26 % 26, 'a' + i % 26);
    return out;
}

static void put_many(struct knowledge *k, int from, int to)
{
    for (int i = from; i < to; i++) {
        char id[32], text[64];
        snprintf(id, sizeof id, "doc%d", i);
        char w[8];
        snprintf(text, sizeof text, "common words and %s", word_of(i, w));
        CHECK_EQ(put(k, id, text).put, STORE_ADDED);
    }
}

TEST(a_document_is_visible_when_acknowledged_and_replaced_by_its_next_version)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    struct doc_result r = put(k, "a", "白金卡年费3600元");
    CHECK_OK(r.code);
    CHECK_EQ(r.version, 1);
    CHECK_EQ(r.put, STORE_ADDED);
    CHECK_EQ(count(k, "年费"), 1);
    CHECK_EQ(put(k, "a", "白金卡年费3600元").put, STORE_UNCHANGED);
    r = put(k, "a", "白金卡积分兑换");
    CHECK_EQ(r.version, 2);
    CHECK_EQ(r.put, STORE_UPDATED);
    CHECK_EQ(count(k, "年费"), 0);
    CHECK_EQ(count(k, "积分"), 1);
    CHECK_OK(delete_id(k, "a"));
    CHECK_EQ(delete_id(k, "a"), RAG_ENOTFOUND);
    CHECK_EQ(count(k, "积分"), 0);
    knowledge_close(k);
    drop_dir();
}

TEST(a_restart_finds_every_document_also_without_segment_files)
{
    fresh_dir();
    struct knowledge *k = open_it(16);
    put_many(k, 0, 150);
    CHECK_OK(delete_id(k, "doc7"));
    knowledge_close(k);
    for (int round = 0; round < 3; round++) {
        k = open_it(16);
        struct knowledge_stats st;
        knowledge_stats(k, &st);
        CHECK_EQ(st.documents, 149);
        CHECK_EQ(st.pending_rebuild, 0);
        CHECK_EQ(count(k, "common"), 149);
        char w[8];
        CHECK_EQ(count(k, word_of(33, w)), 1);
        CHECK_EQ(count(k, word_of(7, w)), 0);
        CHECK_EQ(st.damaged_segments, round == 2);
        knowledge_close(k);
        char cmd[256]; /* before the 2nd: no segments at all; before the 3rd: one damaged */
        snprintf(cmd, sizeof cmd,
                 round == 0 ? "rm -r %s/segments"
                            : "f=$(ls %s/segments/*.seg | head -1); printf x | dd of=$f bs=1 seek=900 conv=notrunc 2>/dev/null", dir);
        CHECK_EQ(system(cmd), 0);
    }
    drop_dir();
}

TEST(delete_by_filter_takes_what_matches)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 30); /* doc0..doc9: 4 letters, even; the rest odd */
    struct filter_clause c = {STR_LIT("odd"), FILTER_ANY_OF, (struct value[]){{VALUE_BOOL, 1, {0}}}, 1};
    struct job j = {.kind = JOB_DELETE_FILTER, .collection = STR_LIT("default"), .filter = {&c, 1}};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_EQ(j.n_affected, 20);
    CHECK_EQ(count(k, "common"), 10);
    knowledge_close(k);
    drop_dir();
}

TEST(collections_come_and_go)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    const struct segment_list *l;
    struct job j = {.kind = JOB_COLLECTION_ADD, .collection = STR_LIT("sales")};
    CHECK_EQ(knowledge_pin(k, STR_LIT("sales"), &l), RAG_ENOTFOUND);
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_EQ(knowledge_apply(k, &j), RAG_ECONFLICT);
    CHECK_OK(knowledge_pin(k, STR_LIT("sales"), &l));
    CHECK_EQ(l->n_docs, 0);
    knowledge_unpin(k);
    j.kind = JOB_COLLECTION_DELETE;
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_EQ(knowledge_pin(k, STR_LIT("sales"), &l), RAG_ENOTFOUND);
    knowledge_close(k);
    drop_dir();
}

static atomic_bool stop;
static void *reader_main(void *arg)
{
    uint32_t last = 0;
    while (!atomic_load(&stop)) {
        uint32_t n = count(arg, "common");
        CHECK(n >= last); /* documents only come in this test: none may vanish between two looks */
        last = n;
    }
    return NULL;
}

TEST(searches_beside_the_writer_never_lose_a_document)
{
    fresh_dir();
    struct knowledge *k = open_it(32);
    pthread_t t[2];
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, reader_main, k);
    put_many(k, 0, 300);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    struct knowledge_stats st;
    knowledge_stats(k, &st);
    CHECK_EQ(st.documents, 300);
    CHECK(st.segments < 40); /* merged, not one for each document */
    knowledge_close(k);
    drop_dir();
}
