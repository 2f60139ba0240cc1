/* The compiled-in file is linked into the read-only data as it is (tools/data.mk): nothing is parsed or copied
 * at start, and only the pages that questions touch are ever read from disk. */
#include "text/lexicon.h"

#include <string.h>

__asm__(".section .rodata\n"
        ".balign 16\n"
        "ragd_lexicon_file:\n"
        ".incbin \"lexicon.bin\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char ragd_lexicon_file[] __attribute__((visibility("hidden")));

static const struct lexicon_header *header(void)
{
    return (const struct lexicon_header *)(const void *)ragd_lexicon_file;
}

struct lexicon lexicon_builtin(void)
{
    const struct lexicon_header *h = header();
    const uint32_t *first = (const uint32_t *)(const void *)(ragd_lexicon_file + sizeof *h);
    const uint16_t *label = (const uint16_t *)(const void *)(first + h->n_nodes + 1);
    return (struct lexicon){first, label, label + h->n_nodes, h->n_nodes};
}

const uint16_t *lexicon_simplified(uint32_t *n_pairs)
{
    struct lexicon lx = lexicon_builtin();
    *n_pairs = header()->n_pairs;
    return lx.cost + lx.n_nodes;
}

uint64_t lexicon_builtin_hash(void)
{
    return header()->hash;
}

uint32_t lexicon_unknown_cost(void)
{
    return header()->unknown_cost;
}
