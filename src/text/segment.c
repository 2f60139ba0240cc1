#include "text/segment.h"

#include <pthread.h>

#include "text/chartab.h"

#define UNIT_BONUS (6 * LEXICON_COST_ONE)

/* First character to its node: the root has 13,000 children, too many to search. */
static uint16_t root_child[0x10000];
static pthread_once_t root_once = PTHREAD_ONCE_INIT;

static void fill_root(void)
{
    struct lexicon lx = lexicon_builtin();
    for (uint32_t i = lx.first[0]; i < lx.first[1]; i++)
        root_child[lx.label[i]] = (uint16_t)i;
}

/* A Latin word or number must not be cut: a mixed word ends only where one of the two sides is not alphanumeric. */
static bool may_end(const struct norm_cp *text, uint32_t at, uint32_t n)
{
    const struct chartab *tab = chartab_get();
    if (at >= n)
        return true;
    enum char_class a = chartab_class(tab, text[at - 1].cp), b = chartab_class(tab, text[at].cp);
    bool a_word = a == CLASS_LETTER || a == CLASS_DIGIT || a == CLASS_MARK;
    bool b_word = b == CLASS_LETTER || b == CLASS_DIGIT || b == CLASS_MARK;
    return !(a_word && b_word);
}

struct walk {
    const struct norm_cp *text;
    uint32_t at, to, n;
    uint32_t bits;  /* words found within `to` */
    uint32_t mixed; /* longest one beyond */
    int32_t cost;   /* cheapest continuation */
    uint32_t len;   /* its word */
};

static inline void walk_trie(const struct lexicon *lx, uint32_t node, struct walk *w, const int32_t *best,
                             int32_t discount, uint32_t unit)
{
    for (uint32_t len = 1; node && len <= LEXICON_MAX_WORD; len++) {
        uint32_t end = w->at + len;
        if (lx->cost[node] && end <= w->to) {
            w->bits |= (uint32_t)1 << (len - 1);
            int32_t c = (discount ? discount : lx->cost[node]) + best[end];
            if (len == unit)
                c -= UNIT_BONUS;
            if (c < w->cost) {
                w->cost = c;
                w->len = len;
            }
        } else if (lx->cost[node] && len > w->mixed && may_end(w->text, end, w->n)) {
            w->mixed = len;
        }
        if (end >= w->n)
            break;
        node = lexicon_child(lx, node, lexicon_label(w->text[end].cp));
    }
}

static uint32_t first_node(const struct lexicon *lx, const struct lexicon *builtin, uint32_t cp)
{
    return lx == builtin ? root_child[lexicon_label(cp)] : lexicon_child(lx, 0, lexicon_label(cp));
}

void segment_run(const struct lexicon *user, const struct norm_cp *text, uint32_t from, uint32_t to,
                 uint32_t n, uint32_t unit, struct segment *s)
{
    pthread_once(&root_once, fill_root);
    struct lexicon lx = lexicon_builtin();
    int32_t unknown = (int32_t)lexicon_unknown_cost();
    s->best[to] = 0;
    for (uint32_t at = to; at-- > from;) {
        struct walk w = {text, at, to, n, 0, 0, unknown + s->best[at + 1], 1};
        walk_trie(&lx, first_node(&lx, &lx, text[at].cp), &w, s->best, 0, at == from ? unit : 0);
        if (user)
            walk_trie(user, first_node(user, &lx, text[at].cp), &w, s->best, 1, 0);
        s->words[at] = w.bits;
        s->mixed[at] = (uint8_t)w.mixed;
        s->next[at] = (uint8_t)w.len;
        s->best[at] = w.cost;
    }
}

uint32_t segment_longest(const struct lexicon *user, const struct norm_cp *text, uint32_t at, uint32_t n)
{
    pthread_once(&root_once, fill_root);
    struct lexicon lx = lexicon_builtin();
    struct walk w = {.text = text, .at = at, .to = at, .n = n};
    walk_trie(&lx, first_node(&lx, &lx, text[at].cp), &w, NULL, 0, 0);
    if (user)
        walk_trie(user, first_node(user, &lx, text[at].cp), &w, NULL, 1, 0);
    return w.mixed;
}
