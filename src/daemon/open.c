#include "daemon/open.h"

#include <string.h>
#include <sys/stat.h>

#include "sys/file.h"

enum { MAX_USER_WORDS_BYTES = 16 << 20 };

/* The words of a file, one a line; the spans point into `bytes`. */
static rag_code split_words(struct str bytes, struct buf *words)
{
    if (bytes.len >= 3 && memcmp(bytes.ptr, "\xEF\xBB\xBF", 3) == 0)
        bytes = str_make(bytes.ptr + 3, bytes.len - 3);
    while (bytes.len) {
        const char *nl = memchr(bytes.ptr, '\n', bytes.len);
        size_t n = nl ? (size_t)(nl - bytes.ptr) : bytes.len;
        struct str word = str_trim(str_make(bytes.ptr, n));
        if (word.len && word.ptr[0] != '#')
            BUF_ADD_VALUE(words, word);
        n += nl != NULL;
        bytes = str_make(bytes.ptr + n, bytes.len - n);
    }
    return buf_failed(words) ? RAG_ENOMEM : RAG_OK;
}

rag_code open_analyzer(const struct config *c, struct analyzer **out, struct rag_err *err)
{
    if (!c->user_words_file[0])
        return analyzer_new(NULL, 0, out, err);
    struct buf bytes, words;
    buf_init(&bytes, MEM_TEXT);
    buf_init(&words, MEM_TEXT);
    struct rag_err why = {0};
    rag_code rc = file_read_all(c->user_words_file, MAX_USER_WORDS_BYTES, &bytes, &why);
    if (!rc)
        rc = split_words(buf_str(&bytes), &words);
    if (!rc)
        rc = analyzer_new((const struct str *)(const void *)words.ptr,
                          (uint32_t)(words.len / sizeof(struct str)), out, &why);
    if (rc)
        rag_err_param(err, rc, "text.user_words_file", "text.user_words_file %s: %s", c->user_words_file,
                      why.msg[0] ? why.msg : rag_code_name(rc));
    buf_clear(&words);
    buf_clear(&bytes);
    return rc;
}

rag_code open_check_data(const struct config *c, struct rag_err *err)
{
    struct stat st;
    if (stat(c->data, &st) == 0 && !S_ISDIR(st.st_mode))
        return rag_err_param(err, RAG_EINVAL, "data", "data folder %s: not a folder: name one with --data",
                             c->data);
    return RAG_OK;
}

rag_code open_knowledge(const struct config *c, const struct analyzer *an, bool wait_ready,
                        struct knowledge **out, struct rag_err *err)
{
    struct knowledge_options opt = {
        .dir = c->data,
        .chunker = {.size_tokens = c->chunk_size_tokens, .overlap_tokens = c->chunk_overlap_tokens},
        .analyzer = an,
        .wait_ready = wait_ready,
    };
    return knowledge_open(&opt, out, err);
}

struct extract_limits open_extract_limits(const struct config *c)
{
    return (struct extract_limits){
        .max_input_bytes = (uint64_t)c->ingest_file_mb << 20,
        .max_output_bytes = (uint64_t)c->ingest_text_mb << 20,
        .max_memory_bytes = (uint64_t)c->ingest_memory_mb << 20,
        .cpu_s = c->ingest_cpu_s,
        .wall_ms = c->ingest_wall_ms,
    };
}
