#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/list_edit.h"
#include "pipeline/evaluate.h"

TEST(a_perfect_ranking_scores_one)
{
    double m[EVAL_METRICS];
    eval_measure((const uint32_t[]){3, 2, 1, 0}, 4, (const uint32_t[]){1, 2, 3}, 3, m);
    CHECK_NEAR(m[EVAL_NDCG10], 1, 1e-12);
    CHECK_NEAR(m[EVAL_MRR10], 1, 1e-12);
    CHECK_NEAR(m[EVAL_R1], 1.0 / 3, 1e-12);
    CHECK_NEAR(m[EVAL_R5], 1, 1e-12);
}

TEST(metrics_match_numbers_worked_out_by_hand)
{
    double m[EVAL_METRICS];
    /* relevant at ranks 2 (grade 1) and 4 (grade 2); one more of grade 2 was not found */
    eval_measure((const uint32_t[]){0, 1, 0, 2}, 4, (const uint32_t[]){1, 2, 2}, 3, m);
    double dcg = 1 / log2(3) + 2 / log2(5), ideal = 2 + 2 / log2(3) + 1 / log2(4);
    CHECK_NEAR(m[EVAL_NDCG10], dcg / ideal, 1e-12);
    CHECK_NEAR(m[EVAL_MRR10], 0.5, 1e-12);
    CHECK_NEAR(m[EVAL_R1], 0, 1e-12);
    CHECK_NEAR(m[EVAL_R10], 2.0 / 3, 1e-12);
    uint32_t late[40] = {0};
    late[10] = 1; /* rank 11: past the cut of mrr and ndcg, within recall@30 */
    eval_measure(late, 40, (const uint32_t[]){1}, 1, m);
    CHECK_NEAR(m[EVAL_MRR10], 0, 1e-12);
    CHECK_NEAR(m[EVAL_NDCG10], 0, 1e-12);
    CHECK_NEAR(m[EVAL_R10], 0, 1e-12);
    CHECK_NEAR(m[EVAL_R30], 1, 1e-12);
    eval_measure(NULL, 0, (const uint32_t[]){1}, 1, m);
    CHECK_NEAR(m[EVAL_R30], 0, 1e-12);
}

TEST(the_ideal_takes_the_ten_largest_grades_in_any_order)
{
    uint32_t ideal[30], grades[10];
    double m[EVAL_METRICS];
    for (uint32_t i = 0; i < 30; i++)
        ideal[i] = i * 7 % 30 + 1;
    for (uint32_t i = 0; i < 10; i++)
        grades[i] = 30 - i;
    eval_measure(grades, 10, ideal, 30, m);
    CHECK_NEAR(m[EVAL_NDCG10], 1, 1e-12);
}

TEST(intervals_hold_the_mean_and_repeat)
{
    double v[200], mean, lo, hi, lo2, hi2;
    for (int i = 0; i < 200; i++)
        v[i] = i % 2;
    eval_interval(v, 200, &mean, &lo, &hi);
    CHECK_NEAR(mean, 0.5, 1e-12);
    CHECK_NEAR(lo, 0.5 - 1.96 * sqrt(0.25 / 200), 0.01); /* the normal interval of a share */
    CHECK_NEAR(hi, 0.5 + 1.96 * sqrt(0.25 / 200), 0.01);
    eval_interval(v, 200, &mean, &lo2, &hi2);
    CHECK(memcmp(&lo, &lo2, sizeof lo) == 0 && memcmp(&hi, &hi2, sizeof hi) == 0);
    eval_interval(v, 0, &mean, &lo, &hi);
    CHECK_NEAR(hi, 0, 0);
    double one = 0.25;
    eval_interval(&one, 1, &mean, &lo, &hi);
    CHECK_NEAR(lo, 0.25, 0);
    CHECK_NEAR(hi, 0.25, 0);
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void drop(const char *dir)
{
    static const char *const names[] = {"corpus.jsonl", "queries.jsonl", "qrels.tsv"};
    char path[256];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

TEST(a_small_set_runs_from_files_to_numbers)
{
    char dir[] = "/tmp/ragd-eval-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    put(dir, "corpus.jsonl",
        "{\"_id\":\"a\",\"title\":\"Annual fee\",\"text\":\"The platinum card costs 3600 a year.\"}\n"
        "{\"_id\":\"b\",\"title\":\"Points\",\"text\":\"Points are redeemed in the app.\"}\n\n"
        "{\"_id\":\"c\",\"title\":\"\",\"text\":\"白金卡的年费是3600元。\"}");
    put(dir, "queries.jsonl",
        "{\"_id\":\"q1\",\"text\":\"platinum annual fee\"}\n{\"_id\":\"q2\",\"text\":\"白金卡年费\"}\n{\"_id\":\"q3\",\"text\":\"x\"}\n");
    put(dir, "qrels.tsv",
        "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\nq2\tc\t1\nq2\tgone\t1\nq9\ta\t1\n");
    struct eval_data d;
    struct rag_err err = {0};
    CHECK_OK(eval_data_load(&(struct eval_files){.dir = dir}, &d, &err));
    const struct eval_query *q = (const struct eval_query *)(const void *)d.queries.ptr;
    CHECK_EQ(d.queries.len / sizeof *q, 2);
    CHECK_EQ(d.n_unjudged, 1);
    CHECK_EQ(q[0].n_judged, 1);
    CHECK_EQ(q[0].judged[0].grade, 2);
    CHECK_EQ(q[1].n_judged, 2);
    struct analyzer *an;
    struct segment_list *list;
    struct eval_result r;
    CHECK_OK(analyzer_new(NULL, 0, &an, &err));
    struct eval_cut cut[] = {{{64, 8}, false}, {{64, 8}, true}};
    for (int how = 0; how < 3; how++) {
        CHECK_OK(eval_index(&d, an, how ? &cut[how - 1] : NULL, NULL, NULL, &list, &err));
        CHECK_EQ(list->n_docs, 3);
        struct eval_setting s = {.profile = profile_balanced, .lexical = true, .depth = 100};
        CHECK_OK(eval_run(&d, list, an, NULL, &s, NULL, NULL, &r, &err));
        CHECK_EQ(r.n, 2);
        CHECK_NEAR(r.per_query[EVAL_R1][0], 1, 1e-12);
        CHECK_NEAR(r.per_query[EVAL_R10][1], 0.5,
                   1e-12); /* the judged document that the corpus lacks counts */
        eval_result_clear(&r);
        list_free(list);
    }
    analyzer_free(an);
    eval_data_clear(&d);
    drop(dir);
}

static uint32_t windows_of(const char *text, uint32_t size, uint32_t overlap, struct text_chunk out[8])
{
    struct text_doc doc;
    struct text_chunks chunks;
    text_doc_init(&doc);
    text_chunks_init(&chunks);
    buf_addz(&doc.text, text);
    CHECK_OK(eval_windows(&doc, &(struct chunker_options){size, overlap}, &chunks));
    size_t n = chunks.chunks.len / sizeof *out;
    CHECK(n <= 8);
    if (n)
        memcpy(out, chunks.chunks.ptr, n * sizeof *out);
    text_chunks_clear(&chunks);
    text_doc_clear(&doc);
    return (uint32_t)n;
}

TEST(windows_cover_the_text_and_overlap)
{
    struct text_chunk w[8];
    CHECK_EQ(windows_of("", 4, 1, w), 0);
    CHECK_EQ(windows_of("  \n ", 4, 1, w), 0);
    CHECK_EQ(windows_of("一二三四", 4, 1, w), 1); /* three bytes and one token a character */
    CHECK_EQ(windows_of("一二三四五六七八", 4, 1, w), 3);
    CHECK_EQ(w[0].end, 12);
    CHECK_EQ(w[1].start, 9);
    CHECK_EQ(w[1].end, 21);
    CHECK_EQ(w[2].start, 18);
    CHECK_EQ(w[2].end, 24);
    CHECK_EQ(windows_of("abcdefgh ijk", 2, 0, w), 2); /* four bytes a token */
    CHECK_EQ(w[0].end, 8);
    CHECK_EQ(w[1].start, 9); /* trimmed */
    CHECK_EQ(w[1].end, 12);
    CHECK_EQ(windows_of("\xF0\x9F\x98\x80\xF0\x9F\x98\x80", 1, 0, w), 2); /* whole characters */
    CHECK_EQ(w[0].end, 4);
}

TEST(markdown_is_cut_at_its_headings)
{
    char dir[] = "/tmp/ragd-eval-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    static const char line[] = "\"text\":\"# One\\n\\nApples are red and round, and they grow on trees in many "
                               "countries.\\n\\n# Two\\n\\nPears are green, 梨是绿的.\"}\n";
    char corpus[512];
    snprintf(corpus, sizeof corpus, "{\"_id\":\"a.md\",%s{\"_id\":\"b\",%s", line, line);
    put(dir, "corpus.jsonl", corpus);
    put(dir, "queries.jsonl", "{\"_id\":\"q\",\"text\":\"pears\"}\n");
    put(dir, "qrels.tsv", "query-id\tcorpus-id\tscore\nq\ta.md\t1\n");
    struct eval_data d;
    struct rag_err err = {0};
    struct analyzer *an;
    struct segment_list *list;
    CHECK_OK(eval_data_load(&(struct eval_files){.dir = dir}, &d, &err));
    CHECK_OK(analyzer_new(NULL, 0, &an, &err));
    CHECK_OK(eval_index(&d, an, &(struct eval_cut){.size = {64, 0}}, NULL, NULL, &list, &err));
    CHECK_EQ(list->n_chunks, 3); /* two sections, and the plain text whole */
    struct chunk_view v, before;
    segment_chunk(list->e[0].segment, 0, &before);
    segment_chunk(list->e[0].segment, 1, &v);
    CHECK(str_eq(v.heading_path, STR_LIT("Two")));
    CHECK(v.start >= before.end && v.end > v.start);
    segment_chunk(list->e[0].segment, 2, &v);
    CHECK_EQ(v.heading_path.len, 0);
    CHECK_EQ(v.start, 0);
    list_free(list);
    analyzer_free(an);
    eval_data_clear(&d);
    drop(dir);
}

TEST(broken_files_are_refused_with_their_line)
{
    static const char *const corpus[] = {"{\"_id\":\"a\",\"text\":\"x\"}\n{\"_id\":\"a\",\"text\":\"y\"}\n",
                                         "{\"_id\":\"a\",\"text\":\"x\"}\n{}\n",
                                         "{\"_id\":\"a\",\"text\":\"x\"}\nnot json\n"};
    char dir[] = "/tmp/ragd-eval-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    for (int i = 0; i < 3; i++) {
        struct eval_data d;
        struct rag_err err = {0};
        put(dir, "corpus.jsonl", corpus[i]);
        CHECK_EQ(eval_data_load(&(struct eval_files){.dir = dir}, &d, &err), RAG_EFORMAT);
        CHECK(strstr(err.msg, "corpus.jsonl:2:") != NULL);
        eval_data_clear(&d);
    }
    struct eval_data d;
    struct rag_err err = {0};
    put(dir, "corpus.jsonl", "{\"_id\":\"a\",\"text\":\"x\"}\n");
    CHECK_EQ(eval_data_load(&(struct eval_files){.dir = dir}, &d, &err), RAG_ENOTFOUND);
    eval_data_clear(&d);
    put(dir, "qrels.tsv", "q1\ta\t1\nq1 a 1\n");
    CHECK_EQ(eval_data_load(&(struct eval_files){.dir = dir}, &d, &err), RAG_EFORMAT);
    CHECK(strstr(err.msg, "qrels.tsv:2:") != NULL);
    eval_data_clear(&d);
    drop(dir);
}
