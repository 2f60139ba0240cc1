/* Tokenizers. The first byte picks: a tokenizer.json is refused or gives a block that opens; any text has ids of the
 * vocabulary; a damaged block is refused or stays inside its bytes. */
#include "model/tokenizer_json.h"
#include "text/tokenizer_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(struct str block, struct str text)
{
    struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct buf ids;
    if (tokenizer_open(block, &t, NULL) != RAG_OK)
        return;
    buf_init(&ids, MEM_MISC);
    if (tokenizer_scratch_new(&s) == RAG_OK) {
        if (tokenizer_encode(t, s, text, &ids) == RAG_OK)
            for (size_t i = 0; i < ids.len; i += 4) {
                uint32_t id;
                memcpy(&id, ids.ptr + i, 4);
                RAG_ASSERT(id < tokenizer_vocabulary(t));
            }
        tokenizer_scratch_free(s);
    }
    buf_clear(&ids);
    tokenizer_close(t);
}

/* Blocks of both kinds, made once. */
static const struct buf *sample(bool unigram)
{
    static struct buf blocks[2];
    static const char *const pieces[] = {"[UNK]",        "a", "##b", "\xE2\x96\x81", "\xE2\x96\x81\x61", "ab",
                                         "\xE4\xB8\xAD", "b"};
    static const double scores[] = {0, -1, -2, -3, -2, -2, -5, -1};
    static uint32_t map[1 + 256 + 2] = {1024, [1] = 0x80u << 10, [1 + 0xC1] = 0xC3u << 10 | 0x141,
                                        [1 + 2] = 0x80000000u, [257] = 'a'};
    struct str list[8];
    struct buf *b = &blocks[unigram];
    if (b->len)
        return b;
    for (int i = 0; i < 8; i++)
        list[i] = str_of(pieces[i]);
    buf_init(b, MEM_MISC);
    struct tokenizer_spec spec = {.kind = unigram ? TOKENIZER_UNIGRAM : TOKENIZER_WORDPIECE,
                                  .pieces = list,
                                  .scores = scores,
                                  .n_pieces = 8,
                                  .clean_text = true,
                                  .chinese_chars = true,
                                  .strip_accents = true,
                                  .lowercase = true,
                                  .continuing_prefix = STR_LIT("##"),
                                  .max_word_chars = 10,
                                  .charsmap = str_make((const char *)map, sizeof map),
                                  .collapse_spaces = true,
                                  .strip_right = true,
                                  .metaspace_prepend = true};
    RAG_ASSERT(tokenizer_build(&spec, b, NULL) == RAG_OK);
    return b;
}

/* The text follows its length; the rest are triples: two bytes of place, one of value. */
static void damage(const struct buf *b, struct str in)
{
    size_t n = in.len ? (unsigned char)in.ptr[0] : 0;
    if (in.len < n + 1)
        return;
    struct str text = str_make(in.ptr + 1, n);
    char *copy = mem_strndup(MEM_MISC, b->ptr, b->len);
    RAG_ASSERT(copy != NULL);
    for (size_t i = n + 1; i + 3 <= in.len; i += 3) {
        size_t at = (size_t)(unsigned char)in.ptr[i] << 8 | (unsigned char)in.ptr[i + 1];
        copy[(at & 1 ? at >> 1 : at * 4) % b->len] =
            in.ptr[i + 2]; /* odd: the header's surroundings, even: anywhere */
    }
    encode(str_make(copy, b->len), text);
    mem_free(MEM_MISC, copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str in = str_make((const char *)data + 1, size - 1);
    struct buf block;
    switch (data[0] % 5) {
    case 0:
        buf_init(&block, MEM_MISC);
        if (tokenizer_from_json(in, &block, NULL) == RAG_OK) {
            struct tokenizer *t;
            RAG_ASSERT(tokenizer_open(buf_str(&block), &t, NULL) == RAG_OK);
            tokenizer_close(t);
            encode(buf_str(&block), in);
        }
        buf_clear(&block);
        break;
    case 1:
    case 2: encode(buf_str(sample(data[0] % 5 == 2)), in); break;
    default: damage(sample(data[0] % 5 == 4), in);
    }
    return 0;
}
