/* Packed models: any bytes are refused, or make vectors without leaving them. The size in the header is made right
 * first; the checksum is not looked at, as at a start of the server. */
#include <stdlib.h>

#include "model/encoder.h"
#include "model/model_format.h"
#include "model/model_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct model *m)
{
    static const struct str texts[] = {{"the bank of the river", 21}, {"", 0}, {"白金卡的年费。 a\xFF b", 26}};
    struct encoder *e = NULL;
    float *v = malloc(3 * (size_t)model_info(m)->dims * sizeof *v);
    if (encoder_new(m, &e) == RAG_OK) {
        rag_code rc = encoder_run(e, ENCODE_QUERY, texts, 3, NULL, v, NULL);
        RAG_ASSERT(rc == RAG_OK || rc == RAG_ENOMEM);
    }
    encoder_free(e);
    free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m;
    struct rag_err err;
    char *copy = aligned_alloc(MODEL_ALIGN, (size + MODEL_ALIGN) / MODEL_ALIGN * MODEL_ALIGN);
    if (size)
        memcpy(copy, data, size);
    if (size >= sizeof(struct model_header)) {
        struct model_header *h = (struct model_header *)(void *)copy;
        h->file_bytes = size;
        if (model_open_bytes(str_make(copy, size), "fuzz", false, &m, &err) == RAG_OK) {
            encode(m);
            model_close(m);
        }
    }
    free(copy);
    return 0;
}
