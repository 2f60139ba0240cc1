/* The data folder at work: documents in, lists published, restart, damage, merges, deletes. */
#include "test.h"

#include "temp_dir.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/bm25.h"
#include "pipeline/ask.h"
#include "pipeline/knowledge.h"

static struct analyzer *an;

static void fresh_dir(void)
{
    if (!an)
        CHECK_OK(analyzer_new(NULL, 0, &an, NULL));
    temp_dir_make();
}

static struct knowledge *open_it(uint32_t flush_chunks)
{
    struct knowledge *k;
    struct rag_err err = {0};
    struct knowledge_options opt = {
        .dir = dir, .chunker = {256, 32}, .analyzer = an, .flush_chunks = flush_chunks, .wait_ready = true};
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
    temp_dir_drop();
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
        snprintf(
            cmd, sizeof cmd,
            round == 0
                ? "rm -r %s/segments"
                : "f=$(ls %s/segments/*.seg | head -1); printf x | dd of=$f bs=1 seek=900 conv=notrunc 2>/dev/null",
            dir);
        CHECK_EQ(system(cmd), 0);
    }
    temp_dir_drop();
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
    temp_dir_drop();
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
    temp_dir_drop();
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
    temp_dir_drop();
}

/* ---- what the world does to a data folder ---------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
    char cmd[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    CHECK_EQ(system(cmd), 0);
}

static void sql(const char *text)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/ragd.db", dir);
    CHECK_EQ(sqlite3_open(path, &db), 0);
    CHECK_EQ(sqlite3_exec(db, text, NULL, NULL, NULL), 0);
    CHECK_EQ(sqlite3_close(db), 0);
}

static uint64_t documents(struct knowledge *k)
{
    struct knowledge_stats st;
    knowledge_stats(k, &st);
    return st.documents;
}

TEST(one_bad_document_of_a_job_fails_alone)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    struct doc_input d[3];
    struct doc_result r[3] = {0};
    set_text(&d[0], "a", "common one");
    set_text(&d[1], "b", "common two");
    set_text(&d[2], "c", "common three");
    d[1].metadata_json = STR_LIT("{\"big\":1e999}");
    struct job j = {.kind = JOB_PUT, .collection = STR_LIT("default"), .docs = d, .results = r, .n = 3};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_OK(r[0].code);
    CHECK_EQ(r[1].code, RAG_EFORMAT);
    CHECK_OK(r[2].code);
    for (int i = 0; i < 3; i++)
        text_doc_clear(&d[i].doc);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(documents(k), 2);
        CHECK_EQ(count(k, "common"), 2);
        knowledge_close(k);
        k = open_it(0);
    }
    CHECK_EQ(put(k, "b", "common two").put, STORE_ADDED);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(one_id_more_than_once_in_a_job_is_one_document)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    struct doc_input d[4];
    struct doc_result r[4] = {0};
    const char *texts[] = {"common first", "common second", "common third", "common third"};
    for (int i = 0; i < 4; i++)
        set_text(&d[i], "same", texts[i]);
    struct job j = {.kind = JOB_PUT, .collection = STR_LIT("default"), .docs = d, .results = r, .n = 4};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_EQ(r[2].version, 3);
    CHECK_EQ(r[3].put, STORE_UNCHANGED);
    CHECK_EQ(count(k, "common"), 1);
    CHECK_EQ(count(k, "third"), 1);
    CHECK_EQ(count(k, "first"), 0);
    for (int i = 0; i < 4; i++)
        text_doc_clear(&d[i].doc);
    memset(r, 0, sizeof r);
    j = (struct job){.kind = JOB_DELETE, .collection = STR_LIT("default"), .docs = d, .results = r, .n = 2};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_OK(r[0].code);
    CHECK_EQ(r[1].code, RAG_ENOTFOUND);
    CHECK_EQ(documents(k), 0);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(damaged_rows_cost_their_own_documents_and_no_others)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 40);
    knowledge_close(k);
    shell("rm -r %s/segments", dir);
    sql("UPDATE versions SET metadata='{\"a\":' WHERE id='doc3';"
        "UPDATE chunks SET char_start=9, char_end=1 WHERE seq=(SELECT seq FROM documents WHERE id='doc17');"
        "UPDATE documents SET n_chunks=4294967295 WHERE id='doc30'");
    for (int round = 0; round < 2; round++) {
        k = open_it(0);
        CHECK_EQ(documents(k), 37);
        CHECK_EQ(count(k, "common"), 37);
        CHECK_EQ(put(k, "more", "common too").code, 0);
        CHECK_OK(delete_id(k, "more"));
        knowledge_close(k);
    }
    temp_dir_drop();
}

TEST(a_newer_manifest_is_refused_and_its_segments_stay)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 3);
    knowledge_close(k);
    shell("sed -i 's/\"ragd_manifest\":1/\"ragd_manifest\":2/' %s/segments/MANIFEST", dir);
    struct rag_err err = {0};
    struct knowledge_options opt = {.dir = dir, .chunker = {256, 32}, .analyzer = an};
    CHECK_EQ(knowledge_open(&opt, &k, &err), RAG_EVERSION);
    CHECK(err.msg[0]);
    shell("ls %s/segments/*.seg >/dev/null", dir);
    temp_dir_drop();
}

TEST(a_restored_database_does_not_meet_the_segments_of_its_lost_future)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 10);
    shell("cp %s/ragd.db %s/old.db && cp %s/ragd.db-wal %s/old.db-wal", dir, dir, dir, dir);
    put_many(k, 10, 20);
    knowledge_close(k); /* one file with all twenty */
    shell("mv %s/old.db %s/ragd.db && mv %s/old.db-wal %s/ragd.db-wal && rm -f %s/ragd.db-shm", dir, dir, dir,
          dir, dir);
    k = open_it(0);
    CHECK_EQ(documents(k), 10);
    for (int i = 0; i < 10; i++) { /* they get the sequence numbers of the lost ones */
        char id[16];
        snprintf(id, sizeof id, "new%d", i);
        CHECK_EQ(put(k, id, "common present").put, STORE_ADDED);
    }
    char first[64]; /* as kill -9 leaves it: what is open now, copied */
    strcpy(first, dir);
    shell("cp -r %s %s-killed", first, first);
    knowledge_close(k);
    strcat(dir, "-killed");
    k = open_it(0);
    CHECK_EQ(documents(k), 20);
    CHECK_EQ(count(k, "present"), 10);
    char w[8];
    CHECK_EQ(count(k, word_of(12, w)), 0);
    knowledge_close(k);
    temp_dir_drop();
    strcpy(dir, first);
    temp_dir_drop();
}

TEST(closing_while_rebuilding_loses_nothing)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 300);
    knowledge_close(k);
    shell("rm -r %s/segments", dir);
    struct knowledge_options opt = {.dir = dir, .chunker = {256, 32}, .analyzer = an};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(knowledge_open(&opt, &k, &(struct rag_err){0}));
        if (i == 1) { /* an update and a delete beside the rebuild */
            CHECK_EQ(put(k, "doc299", "common changed").version, 2);
            CHECK_OK(delete_id(k, "doc298"));
        }
        knowledge_close(k);
    }
    k = open_it(0);
    CHECK_EQ(documents(k), 299);
    CHECK_EQ(count(k, "common"), 299);
    CHECK_EQ(count(k, "changed"), 1);
    knowledge_close(k);
    temp_dir_drop();
}

/* The transaction outgrows SQLite's cache, so the disk is full in the middle of it and not at its commit: SQLite
 * then rolls back by itself, and what follows in the job must not become transactions of its own. */
TEST(a_full_disk_in_the_middle_of_a_job_leaves_none_of_it)
{
    enum { BIG = 24, SMALL = 8, BYTES = 700 << 10 };
    static struct doc_input d[BIG + SMALL];
    static struct doc_result r[BIG + SMALL];
    char ids[BIG + SMALL][16];
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 3);
    char *text = malloc(BYTES + 1);
    for (int i = 0; i < BYTES; i++)
        text[i] = i % 1000 == 999 ? '\n' : ' '; /* little to index, much to write */
    text[BYTES] = 0;
    memcpy(text, "common", 6);
    for (int i = 0; i < BIG + SMALL; i++) {
        snprintf(ids[i], sizeof ids[i], "d%d", i);
        set_text(&d[i], ids[i], i < BIG ? text : "common small");
    }
    free(text);
    struct rlimit was, small = {0};
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){4 << 20, was.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct job j = {
        .kind = JOB_PUT, .collection = STR_LIT("default"), .docs = d, .results = r, .n = BIG + SMALL};
    rag_code rc = knowledge_apply(k, &j);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &was), 0);
    CHECK(rc == RAG_ENOSPC || rc == RAG_EIO);
    CHECK(r[BIG].code != RAG_OK);
    CHECK_EQ(documents(k), 3);
    CHECK_EQ(put(k, ids[BIG], "common small").put, STORE_ADDED);
    knowledge_close(k);
    k = open_it(0);
    CHECK_EQ(documents(k), 4);
    CHECK_EQ(count(k, "common"), 4);
    knowledge_close(k);
    for (int i = 0; i < BIG + SMALL; i++)
        text_doc_clear(&d[i].doc);
    temp_dir_drop();
}

TEST(a_listing_explains_itself_in_json)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    put_many(k, 0, 3);
    struct pipeline p = {.knowledge = k, .analyzer = an, .profile = profile_balanced};
    struct arena a = {0};
    struct ask q = {.arena = &a, .listing = true, .search_only = true};
    q.query.collection = STR_LIT("default");
    q.query.top_k = 10;
    q.query.explain = true;
    CHECK_OK(ask_run(&p, &q, &(struct rag_err){0}));
    CHECK_EQ(q.hits.n, 3);
    CHECK(q.explain.len && q.explain.ptr[0] == '"');
    ask_end(&p, &q);
    arena_clear(&a);
    knowledge_close(k);
    temp_dir_drop();
}

/* ---- everything at once ---------------------------------------------------------------------------------- */

enum { STORM_WRITERS = 3, STORM_STEPS = 150, STORM_IDS = 20 };
struct storm {
    struct knowledge *k;
    int number;
    bool alive[STORM_IDS];
};

static void *storm_main(void *arg)
{
    struct storm *s = arg;
    uint32_t x = (uint32_t)s->number * 77 + 1;
    for (int i = 0; i < STORM_STEPS; i++) {
        char id[32], text[64];
        x = x * 1664525 + 1013904223;
        int n = (int)(x >> 16) % STORM_IDS;
        snprintf(id, sizeof id, "w%d-%d", s->number, n);
        if ((x >> 8) % 4 == 0) {
            CHECK_EQ(delete_id(s->k, id), s->alive[n] ? RAG_OK : RAG_ENOTFOUND);
            s->alive[n] = false;
        } else {
            snprintf(text, sizeof text, "common step %d of %d", i, s->number);
            CHECK_OK(put(s->k, id, text).code);
            s->alive[n] = true;
        }
    }
    return NULL;
}

static void *collections_main(void *arg)
{
    struct knowledge *k = arg;
    while (!atomic_load(&stop)) {
        struct job j = {.kind = JOB_COLLECTION_ADD, .collection = STR_LIT("passing")};
        CHECK_OK(knowledge_apply(k, &j));
        for (int i = 0; i < 20; i++) {
            struct doc_input d;
            struct doc_result r = {0};
            char id[16];
            snprintf(id, sizeof id, "p%d", i);
            set_text(&d, id, "common but elsewhere");
            struct job p = {
                .kind = JOB_PUT, .collection = STR_LIT("passing"), .docs = &d, .results = &r, .n = 1};
            CHECK_OK(knowledge_apply(k, &p));
            text_doc_clear(&d.doc);
        }
        j.kind = JOB_COLLECTION_DELETE;
        CHECK_OK(knowledge_apply(k, &j));
    }
    return NULL;
}

static void *looking_main(void *arg)
{
    while (!atomic_load(&stop))
        CHECK(count(arg, "common") <= STORM_WRITERS * STORM_IDS);
    return NULL;
}

TEST(writers_deletes_merges_and_collections_beside_one_another_end_in_what_was_acknowledged)
{
    fresh_dir();
    struct knowledge *k = open_it(8); /* files and background merges all the time */
    struct storm s[STORM_WRITERS] = {0};
    pthread_t w[STORM_WRITERS], c, l;
    atomic_store(&stop, false);
    pthread_create(&c, NULL, collections_main, k);
    pthread_create(&l, NULL, looking_main, k);
    for (int i = 0; i < STORM_WRITERS; i++) {
        s[i] = (struct storm){.k = k, .number = i};
        pthread_create(&w[i], NULL, storm_main, &s[i]);
    }
    uint32_t alive = 0;
    for (int i = 0; i < STORM_WRITERS; i++) {
        pthread_join(w[i], NULL);
        for (int n = 0; n < STORM_IDS; n++)
            alive += s[i].alive[n];
    }
    atomic_store(&stop, true);
    pthread_join(c, NULL);
    pthread_join(l, NULL);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(documents(k), alive);
        CHECK_EQ(count(k, "common"), alive);
        knowledge_close(k);
        /* no file is left behind, and none of a deleted collection is named */
        shell("test $(ls %s/segments/*.seg | wc -l) = $(grep -o '\"file\"' %s/segments/MANIFEST | wc -l)",
              dir, dir);
        shell("test $(grep -o '\"collection\":[0-9]*' %s/segments/MANIFEST | sort -u | wc -l) = 1", dir);
        k = open_it(8);
    }
    knowledge_close(k);
    temp_dir_drop();
}

TEST(each_failed_allocation_leaves_what_was_acknowledged)
{
    fresh_dir();
    struct knowledge *k = open_it(8);
    put_many(k, 0, 2);
    uint32_t alive = 0;
    bool fired = true;
    for (unsigned nth = 1; fired && nth < 400; nth += 1 + nth / 40) {
        char id[16];
        struct doc_input d;
        struct doc_result r = {0};
        snprintf(id, sizeof id, "n%u", nth);
        set_text(&d, id, "acknowledged words");
        struct job j = {.kind = JOB_PUT, .collection = STR_LIT("default"), .docs = &d, .results = &r, .n = 1};
        fault_arm_alloc(nth);
        rag_code rc = knowledge_apply(k, &j);
        fired = fault_disarm();
        alive += !rc && !r.code;
        text_doc_clear(&d.doc);
        CHECK_EQ(count(k, "acknowledged"), alive);
    }
    knowledge_close(k);
    k = open_it(8);
    CHECK_EQ(count(k, "acknowledged"), alive);
    CHECK_EQ(documents(k), alive + 2);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(collections_survive_each_failed_allocation)
{
    fresh_dir();
    struct knowledge *k = open_it(0);
    const struct segment_list *l;
    bool fired = true;
    for (unsigned nth = 1; fired && nth < 300; nth++) {
        bool was_there = false;
        for (int kind = 0; kind < 2; kind++) { /* add, then delete; what failed is done again */
            struct job j = {.kind = kind ? JOB_COLLECTION_DELETE : JOB_COLLECTION_ADD,
                            .collection = STR_LIT("brief")};
            fault_arm_alloc(nth);
            rag_code rc = knowledge_apply(k, &j);
            fired = fault_disarm();
            bool there = knowledge_pin(k, STR_LIT("brief"), &l) == RAG_OK;
            if (there)
                knowledge_unpin(k);
            CHECK_EQ(there, rc ? was_there : !was_there);
            if (rc)
                CHECK_OK(knowledge_apply(k, &j));
            was_there = !was_there;
        }
    }
    knowledge_close(k);
    temp_dir_drop();
}
