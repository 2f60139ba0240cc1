/* safetensors files: any bytes are refused, or every tensor of a type we take is readable to its last element. */
#include "model/safetensors.h"

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st;
    struct rag_err err;
    char *copy = mem_strndup(MEM_MISC, (const char *)data, size);
    if (safetensors_open_bytes(str_make(copy, size), &st, &err) == RAG_OK) {
        float sum = 0, v[64];
        for (uint32_t i = 0; i < safetensors_count(st); i++) {
            const struct safetensor *t = safetensors_at(st, i);
            RAG_ASSERT(safetensors_find(st, t->name) == t);
            for (uint64_t k = 0; t->type != SAFETENSOR_OTHER && k < t->n; k += 64) {
                uint64_t n = t->n - k < 64 ? t->n - k : 64;
                safetensor_read(t, k, n, v);
                sum += v[n - 1];
            }
        }
        __asm__ volatile("" : : "r"(&sum) : "memory"); /* keep the reads */
        safetensors_close(st);
    }
    mem_free(MEM_MISC, copy);
    return 0;
}
