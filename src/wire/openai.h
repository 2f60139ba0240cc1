/* wire/openai.h - the OpenAI chat protocol as a client sees it: the request, one streamed chunk, an error body. */
#ifndef RAGD_WIRE_OPENAI_H
#define RAGD_WIRE_OPENAI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

struct chat_message {
    const char *role; /* "system", "user", "assistant" */
    struct str content;
};
struct chat_request {
    const char *model;
    const struct chat_message *messages;
    uint32_t n_messages;
    uint32_t max_tokens;
    float temperature; /* < 0: left out */
    bool cache_control; /* marks the first message {"type":"ephemeral"} as a prefix to keep (providers that take it) */
};
/* The request body: always "stream":true with "stream_options":{"include_usage":true}. max_tokens 0: left out. */
void openai_request_write(struct buf *out, const struct chat_request *r);

struct chat_usage {
    bool given;
    uint32_t prompt, cached, completion; /* tokens; cached is a part of prompt (prompt_tokens_details.cached_tokens, or
                                            prompt_cache_hit_tokens) */
};
/* What one `data:` of the stream says. Strings live in the arena. */
struct chat_chunk {
    bool done;            /* "[DONE]" */
    struct str content;   /* choices[0].delta.content (or .message.content, .text); empty when none */
    bool reasoning;       /* it carried reasoning_content or reasoning instead */
    struct str finish;    /* "stop", "length", ...; empty: goes on */
    struct chat_usage usage;
    bool is_error;        /* {"error":...} inside a stream; openai_error_parse(0, data) says what it means */
    struct str error;     /* its message, else its code or type */
};
/* Text is always valid UTF-8 without NUL: what is not, lone surrogates too, becomes U+FFFD. Blank data is a chunk that says
 * nothing (some send it to keep the connection open). Usage is given when both of its counts are whole and at most 1e9.
 * Bounded in size (SSE_MAX_EVENT_BYTES), depth and numbers; unknown members are read over. RAG_EFORMAT: not JSON, or no
 * chunk of this protocol. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code openai_chunk_parse(struct str data, struct arena *a, struct chat_chunk *out);

/* What an error body means, beyond its status. */
enum chat_error { CHAT_ERROR_OTHER, CHAT_ERROR_QUOTA /* no money left: insufficient_quota, 余额不足, ... */,
                  CHAT_ERROR_RATE, CHAT_ERROR_CONTEXT /* the prompt is longer than the model takes */ };
/* `status` is of the answer; 0, or one below 400, for an error within a stream: then a code in the body counts.
 * Any bytes are taken: {"error":{"message","type","code"}}, {"error":"..."}, {"message"}, {"detail"}, text. `message`:
 * at most 200 bytes, valid UTF-8, one line, "" when there is none. */
enum chat_error openai_error_parse(long status, struct str body, char message[256]);

#endif
