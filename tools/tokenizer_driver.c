/* Ids of texts, for tools/tokenizer_parity.py: tokenizer_driver TOKENIZER.json; one text in hex on each line of stdin,
 * its ids on each line of stdout. With --time: nanoseconds for each text, and for opening, instead. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/tokenizer_json.h"
#include "sys/file.h"
#include "text/tokenizer.h"

static void die(const char *what)
{
    fprintf(stderr, "tokenizer_driver: %s\n", what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A line of hex into `text`; false at the end. */
static bool read_line(struct buf *text)
{
    int c, high = -1;
    buf_reset(text);
    while ((c = getchar()) != EOF && c != '\n') {
        if (digit(c) < 0)
            die("not hex");
        if (high >= 0)
            buf_addc(text, (char)(high << 4 | digit(c)));
        high = high >= 0 ? -1 : digit(c);
    }
    return c != EOF;
}

static void load(const char *path, struct buf *block)
{
    struct rag_err err;
    FILE *f = fopen(path, "rb");
    struct buf json;
    buf_init(&json, MEM_MISC);
    buf_init(block, MEM_MISC);
    if (!f || !buf_reserve(&json, TOKENIZER_JSON_MAX))
        die("cannot read the tokenizer");
    json.len = fread(json.ptr, 1, TOKENIZER_JSON_MAX, f);
    fclose(f);
    if (tokenizer_from_json(buf_str(&json), block, &err) != RAG_OK)
        die(err.msg);
    buf_clear(&json);
}

int main(int argc, char **argv)
{
    bool timing = argc == 3 && strcmp(argv[1], "--time") == 0;
    if (argc != 2 && !timing)
        die("usage: tokenizer_driver [--time] TOKENIZER.json");
    struct rag_err err;
    struct buf block, text, ids;
    buf_init(&text, MEM_MISC);
    buf_init(&ids, MEM_MISC);
    load(argv[argc - 1], &block);
    struct tokenizer *t;
    struct tokenizer_scratch *s;
    int64_t start = now_ns();
    if (tokenizer_open(buf_str(&block), &t, &err) != RAG_OK || tokenizer_scratch_new(&s) != RAG_OK)
        die("cannot open the block");
    int64_t open_ns = now_ns() - start, total = 0;
    size_t n_texts = 0, n_bytes = 0, n_ids = 0;
    while (read_line(&text)) {
        buf_reset(&ids);
        start = now_ns();
        if (tokenizer_encode(t, s, buf_str(&text), &ids) != RAG_OK)
            die("out of memory");
        total += now_ns() - start;
        n_texts++;
        n_bytes += text.len;
        n_ids += ids.len / 4;
        for (size_t i = 0; i < ids.len && !timing; i += 4) {
            uint32_t id;
            memcpy(&id, ids.ptr + i, 4);
            printf(i ? " %" PRIu32 : "%" PRIu32, id);
        }
        if (!timing)
            putchar('\n');
    }
    if (timing)
        printf(
            "block %zu bytes, open %.3f ms, %zu texts, %zu bytes, %zu ids, %.0f ns for each text, %.2f ns for each byte\n",
            block.len, (double)open_ns / 1e6, n_texts, n_bytes, n_ids,
            (double)total / (double)(n_texts + !n_texts), (double)total / (double)(n_bytes + !n_bytes));
    tokenizer_scratch_free(s);
    tokenizer_close(t);
    buf_clear(&block);
    buf_clear(&text);
    buf_clear(&ids);
    return 0;
}
