/* mklexicon lexicon.bin dict.txt... - dictionaries of "word frequency" lines to the file that is compiled in.
 * Words are normalised as documents are (NFKC case fold, traditional to simplified); layout: text/lexicon.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utrans.h>

#include "base/hash.h"
#include "base/mem.h"
#include "text/lexicon.h"

static uint16_t simple[0x10000];

_Noreturn static void die(const char *what, const char *name)
{
    fprintf(stderr, "mklexicon: %s %s\n", what, name);
    exit(1);
}

static void fill_simple(void)
{
    UErrorCode e = U_ZERO_ERROR;
    UChar id[32], text[8];
    u_uastrcpy(id, "Traditional-Simplified");
    UTransliterator *t = utrans_openU(id, -1, UTRANS_FORWARD, NULL, 0, NULL, &e);
    if (U_FAILURE(e))
        die("ICU has no", "Traditional-Simplified");
    for (uint32_t c = 0x2E80; c < 0xFB00; c++) {
        if (c == 0xD800)
            c = 0xF900;
        int32_t len = 1, limit = 1;
        text[0] = (UChar)c;
        utrans_transUChars(t, text, &len, 8, 0, &limit, &e);
        if (U_SUCCESS(e) && len == 1 && text[0] != c)
            simple[c] = text[0];
    }
    utrans_close(t);
}

/* One word as labels; 0 when it is not for the dictionary: without Han, too long, beyond the BMP. */
static uint16_t normalise(const char *utf8, uint16_t *labels)
{
    UErrorCode e = U_ZERO_ERROR;
    UChar in[128], out[256];
    int32_t n;
    u_strFromUTF8(in, 128, &n, utf8, -1, &e);
    n = unorm2_normalize(unorm2_getNFKCCasefoldInstance(&e), in, n, out, 256, &e);
    if (U_FAILURE(e) || n < 1 || n > LEXICON_MAX_WORD)
        return 0;
    bool han = false;
    for (int32_t i = 0; i < n; i++) {
        if (out[i] >= 0xD800 && out[i] <= 0xDFFF)
            return 0;
        labels[i] = simple[out[i]] ? simple[out[i]] : out[i];
        han = han || (labels[i] >= 0x3400 && labels[i] <= 0x9FFF);
    }
    return han ? (uint16_t)n : 0;
}

static uint16_t cost_of(double freq, double total)
{
    double c = (log(total) - log(freq > 0 ? freq : 1)) * LEXICON_COST_ONE;
    return (uint16_t)(c < 1 ? 1 : c > 65535 ? 65535 : c);
}

struct entry {
    uint16_t *labels;
    uint16_t len;
    double freq;
};

struct dict {
    struct entry *all;
    uint32_t n, cap;
    double total;
};

static void read_dict(const char *path, struct dict *d)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die("cannot open", path);
    char line[1024], word[512];
    double freq;
    while (fgets(line, sizeof line, f)) {
        uint16_t labels[LEXICON_MAX_WORD];
        if (sscanf(line, "%511s %lf", word, &freq) != 2)
            continue;
        d->total += freq;
        uint16_t len = normalise(word, labels);
        if (!len)
            continue;
        if (d->n == d->cap) {
            d->cap = d->cap ? d->cap * 2 : 4096;
            d->all = realloc(d->all, d->cap * sizeof *d->all);
            if (!d->all)
                die("out of", "memory");
        }
        uint16_t *copy = malloc(len * sizeof *copy);
        if (!copy)
            die("out of", "memory");
        memcpy(copy, labels, len * sizeof *copy);
        d->all[d->n++] = (struct entry){copy, len, freq};
    }
    fclose(f);
}

static void write_file(const char *path, const struct lexicon *lx, uint32_t unknown)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_add(&b, lx->first, (lx->n_nodes + 1) * sizeof *lx->first);
    buf_add(&b, lx->label, lx->n_nodes * sizeof *lx->label);
    buf_add(&b, lx->cost, lx->n_nodes * sizeof *lx->cost);
    struct lexicon_header h = {.n_nodes = lx->n_nodes, .unknown_cost = unknown};
    memcpy(h.magic, LEXICON_MAGIC, sizeof h.magic);
    for (uint32_t c = 0; c < 0x10000; c++) {
        if (!simple[c])
            continue;
        uint16_t pair[2] = {(uint16_t)c, simple[c]};
        buf_add(&b, pair, sizeof pair);
        h.n_pairs++;
    }
    if (buf_failed(&b))
        die("out of", "memory");
    h.hash = hash_bytes(b.ptr, b.len, 0);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(&h, sizeof h, 1, f) != 1 || fwrite(b.ptr, 1, b.len, f) != b.len || fclose(f) != 0)
        die("cannot write", path);
    buf_clear(&b);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: mklexicon", "lexicon.bin dict.txt...");
    fill_simple();
    struct dict d = {0};
    for (int i = 2; i < argc; i++)
        read_dict(argv[i], &d);
    if (d.n < 1000)
        die("too few words in", argv[2]);
    struct lexicon_word *words = malloc(d.n * sizeof *words);
    if (!words)
        die("out of", "memory");
    for (uint32_t i = 0; i < d.n; i++)
        words[i] = (struct lexicon_word){d.all[i].labels, d.all[i].len, cost_of(d.all[i].freq, d.total)};
    struct lexicon lx;
    void *block;
    if (lexicon_build(words, d.n, &lx, &block))
        die("out of", "memory");
    write_file(argv[1], &lx, cost_of(1, d.total));
    return 0;
}
