#include "daemon/open.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "obs/log.h"
#include "sys/file.h"
#include "sys/random.h"

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

static rag_code use_model(struct open_models *m, uint32_t slot, struct model *model)
{
    const struct model_info *info = model_info(model);
    m->model[slot] = model;
    m->space[slot] = (struct vector_space){.dims = info->dims, .mean = info->mean};
    memcpy(m->space[slot].digest, info->digest, sizeof info->digest);
    return encoder_pool_new(model, &m->encoders[slot]);
}

static rag_code open_tokens(struct open_models *m)
{
    struct token_coder *coder = NULL;
    struct token_weights *weights = NULL;
    const struct model *model = m->model[0];
    rag_code rc = token_coder_new(m->space[0].dims, m->space[0].mean, &coder);
    if (!rc)
        rc = token_weights_new(model_tokenizer(model), &weights);
    if (rc) {
        token_coder_free(coder);
        return rc;
    }
    m->tokens = (struct token_tools){coder, weights};
    m->space[0].token_rules = TOKEN_RULES;
    return RAG_OK;
}

/* The file of the cache that holds the model with this digest. */
static struct model *find_by_digest(const uint8_t digest[32])
{
    char dir[4096], path[8192];
    struct rag_err why;
    if (model_cache_dir(dir, sizeof dir, &why))
        return NULL;
    DIR *d = opendir(dir);
    struct model *found = NULL;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 5, ".ragm") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (model_open(path, false, &found, &why))
            found = NULL;
        if (found && memcmp(model_info(found)->digest, digest, 32) != 0) {
            model_close(found);
            found = NULL;
        }
    }
    if (d)
        closedir(d);
    return found;
}

/* The model whose vectors the data folder holds, when it is not the configured one. */
static rag_code use_replaced(const char *data, struct open_models *m)
{
    struct store_reader *r;
    struct store_model *models;
    struct arena a = {0};
    uint32_t n = 0;
    struct rag_err why;
    if (store_reader_open(&(struct store_options){.dir = data}, &r, &why))
        return RAG_OK; /* a new folder, or one that opening it will complain about */
    const struct store_model *most = NULL;
    uint64_t most_vectors = 0;
    struct model *old = NULL;
    rag_code rc = store_models(r, &a, &models, &n, &why);
    for (uint32_t i = 0; i < n && !rc; i++) {
        uint64_t vectors = 0;
        if (memcmp(models[i].digest, m->space[0].digest, 32) != 0)
            rc = store_vector_count(r, models[i].id, &vectors, &why);
        if (!rc && vectors > most_vectors) {
            most = &models[i];
            most_vectors = vectors;
        }
    }
    if (most && !rc) {
        old = find_by_digest(most->digest);
        log_info("another model than before: what has no vector of the new one yet is embedded again",
                 LOG_SPAN("old_model", most->name), LOG_BOOL("old_serves_meanwhile", old != NULL), LOG_END);
    }
    rc = old ? use_model(m, 1, old) : RAG_OK;
    store_reader_close(r);
    arena_clear(&a);
    return rc;
}

rag_code open_models(const struct config *c, const char *data, struct open_models *out)
{
    char path[4096];
    struct rag_err err = {0};
    struct model *model = NULL;
    *out = (struct open_models){0};
    if (!c->profile.stage_dense || strcmp(c->embedding_provider, "none") == 0) {
        snprintf(out->why_not, sizeof out->why_not, "off");
        return RAG_OK;
    }
    rag_code rc = model_resolve(c->embedding_model, path, sizeof path, &err);
    if (!rc)
        rc = model_open(path, false, &model, &err);
    if (!rc && !model_info(model)->normalize) { /* cosines are what the index compares */
        model_close(model);
        rc = rag_err_set(&err, RAG_EUNSUPPORTED, "model %s: its vectors are not of unit length: use another",
                         c->embedding_model);
    }
    if (rc == RAG_ENOMEM)
        return rc;
    if (rc) {
        snprintf(out->why_not, sizeof out->why_not, "%s", err.msg[0] ? err.msg : rag_code_name(rc));
        return RAG_OK;
    }
    rc = use_model(out, 0, model);
    if (!rc && c->profile.rerank_late)
        rc = open_tokens(out);
    if (!rc && data)
        rc = use_replaced(data, out);
    if (rc)
        open_models_close(out);
    return rc;
}

void open_models_close(struct open_models *m)
{
    token_coder_free((struct token_coder *)(uintptr_t)m->tokens.coder);
    token_weights_free((struct token_weights *)(uintptr_t)m->tokens.weights);
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++) {
        encoder_pool_free(m->encoders[s]);
        model_close(m->model[s]);
    }
    *m = (struct open_models){0};
}

rag_code open_knowledge(const struct config *c, const struct analyzer *an, const struct open_models *models,
                        bool wait_ready, struct knowledge **out, struct rag_err *err)
{
    struct knowledge_options opt = {
        .dir = c->data,
        .chunker = {.size_tokens = c->chunk_size_tokens, .overlap_tokens = c->chunk_overlap_tokens},
        .analyzer = an,
        .wait_ready = wait_ready,
    };
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++)
        opt.spaces[s] = models->model[s] ? &models->space[s] : NULL;
    if (models->model[0])
        opt.model_name = model_info(models->model[0])->name;
    return knowledge_open(&opt, out, err);
}

struct profile open_profile(const struct config *c)
{
    struct profile p = c->profile;
    p.fusion_method = strcmp(c->fusion_method, "rrf") == 0 ? FUSION_RRF : FUSION_CONVEX;
    return p;
}

struct pipeline open_pipeline(const struct config *c, const struct analyzer *an, const struct open_models *models,
                              struct knowledge *k, struct llm *llm)
{
    struct pipeline p = {.knowledge = k,
                         .analyzer = an,
                         .profile = open_profile(c),
                         .llm = llm,
                         .system_prompt = str_of(c->system_prompt)};
    random_bytes(&p.nonce_key, sizeof p.nonce_key);
    memcpy(p.encoders, models->encoders, sizeof p.encoders);
    p.tokens = models->tokens;
    p.why_no_encoder = models->model[0] ? NULL : strcmp(models->why_not, "off") == 0 ? "off" : "no model";
    return p;
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

rag_code open_llm(const struct config *c, struct metrics *metrics, struct open_llm *out, struct rag_err *err)
{
    *out = (struct open_llm){0};
    if (c->catalogue.n == 0 || !c->profile.stage_generation)
        return RAG_OK;
    struct ledger_options ledger = {
        .dir = c->data,
        .daily = c->budget_daily,
        .monthly = c->budget_monthly,
        .warn = c->budget_warn,
        .stop = c->budget_stop,
        .timezone = c->budget_timezone,
        .metrics = metrics,
    };
    struct net_client_options net = {.idle_connections = c->llm_idle_connections};
    rag_code rc = ledger_open(&ledger, &out->ledger, err);
    if (!rc)
        rc = net_client_start(&net, &out->net, err);
    struct llm_options llm = {
        .net = out->net,
        .ledger = out->ledger,
        .catalogue = c->catalogue,
        .breaker = {.failures = c->breaker_failures,
                    .successes = c->breaker_successes,
                    .open_ns = (int64_t)c->breaker_open_s * 1000000000},
        .connect_ms = c->llm_connect_ms,
        .first_token_ms = c->llm_first_token_ms,
        .inter_token_ms = c->llm_inter_token_ms,
        .answer_ms = c->llm_answer_ms,
        .attempts = c->retry_attempts,
        .retry_initial_ms = c->retry_initial_ms,
        .retry_max_ms = c->retry_max_ms,
        .retry_factor = c->retry_factor,
        .retry_budget = c->retry_budget,
        .hedge_ms = c->llm_hedge_ms,
        .max_calls = c->max_generations,
        .metrics = metrics,
    };
    if (!rc)
        rc = llm_open(&llm, &out->llm, err);
    if (rc)
        open_llm_close(out);
    return rc;
}

/* After llm_close nothing is reserved or settled any more. The ledger's thread may still be inside a post to the client,
 * so the client stops last. */
void open_llm_close(struct open_llm *o)
{
    llm_close(o->llm);
    ledger_close(o->ledger);
    net_client_stop(o->net);
    *o = (struct open_llm){0};
}
