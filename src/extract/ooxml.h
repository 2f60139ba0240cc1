/* extract/ooxml.h - what Office files share: a zip of XML parts that name one another by relations (ECMA-376 part 2).
 * One thread at a time. Errors go to the document writer: RAG_EFORMAT for damaged or wrong files, RAG_ETOOBIG past a
 * limit, RAG_ENOMEM; after one every call does nothing. */
#ifndef RAGD_EXTRACT_OOXML_H
#define RAGD_EXTRACT_OOXML_H

#include "extract/extract_int.h"

enum {
    OOXML_MAX_PATH = 512,
};

struct ooxml_span {
    uint32_t off, len; /* in ooxml.names */
};

struct ooxml {
    struct doc_writer *w;
    struct str zip;
    const char *what;   /* for messages: "a workbook" */
    unsigned max_depth; /* of elements */
    uint64_t unpacked;
    struct buf names;     /* bytes of spans */
    struct buf relations; /* of the part whose relations were read last */
};
void ooxml_init(struct ooxml *x, struct doc_writer *w, struct str zip, const char *what, unsigned max_depth);
void ooxml_clear(struct ooxml *x);

/* An element as the reader sees it; valid during the call. */
struct ooxml_element {
    const char *name; /* without prefix */
    const char *uri;  /* of its namespace; "" without one */
    unsigned depth;   /* 1: the root */
    int n;
    const unsigned char **atts;
};
/* The value of the first attribute with this local name; len 0 when there is none. Its & and < are still character
 * references: ooxml_keep undoes the first. */
struct str ooxml_attribute(const struct ooxml_element *e, const char *name);
/* Decimal digits, at most max. */
bool ooxml_number(struct str s, uint32_t max, uint32_t *v);

struct ooxml_reader { /* end and text may be NULL */
    void (*start)(void *ctx, const struct ooxml_element *e);
    void (*end)(void *ctx, const struct ooxml_element *e); /* name, uri and depth only */
    void (*text)(void *ctx, struct str s);                 /* a piece of the characters */
};
/* Reads the part `path` (any case). False when there is none such or the writer has failed. */
bool ooxml_read(struct ooxml *x, struct str path, const struct ooxml_reader *r, void *ctx);

/* Reads the file's own relations and finds its main part, or `fallback`. */
void ooxml_main_part(struct ooxml *x, const char *fallback, char path[OOXML_MAX_PATH]);
/* Reads the relations of the part `path`, in place of the ones read before. */
void ooxml_relations(struct ooxml *x, const char *path);
/* The path of the first relation with this id or, id.len 0, whose type ends with `type`; relative to the folder of
 * `base`, the part that has the relations. False when there is none. */
bool ooxml_target(const struct ooxml *x, struct str id, const char *type, const char *base,
                  char path[OOXML_MAX_PATH]);

struct ooxml_span ooxml_keep(struct ooxml *x, struct str s);
struct str ooxml_name(const struct ooxml *x, struct ooxml_span s);
/* Appends an item of a list that has at most max; `what` names it in the message. */
void ooxml_add(struct ooxml *x, struct buf *list, const void *item, size_t size, size_t max,
               const char *what);

#endif
