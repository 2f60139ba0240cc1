/* extract/extract.h - files of a team to text with blocks. Parsing runs in a child process with limits. */
#ifndef RAGD_EXTRACT_EXTRACT_H
#define RAGD_EXTRACT_EXTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "text/chunker.h"

enum extract_format {
    FORMAT_UNKNOWN,
    FORMAT_TEXT,
    FORMAT_MARKDOWN,
    FORMAT_HTML,
    FORMAT_CSV, /* also tab- and semicolon-separated */
    FORMAT_JSON,
    FORMAT_JSONL,
    FORMAT_XLSX,
    FORMAT_DOCX,
    FORMAT_PDF, /* needs the program pdftotext; RAG_EUNSUPPORTED without it */
};

/* By file name extension (case-insensitive); FORMAT_UNKNOWN when we do not take it. */
enum extract_format extract_format_of(const char *filename);
/* What to do about a file that extract_format_of does not take, for messages. */
const char *extract_advice(const char *filename);
/* By name ("text", "markdown", "html", "csv", "json", "jsonl", "xlsx", "docx", "pdf"), as the API's `format` field takes it. */
enum extract_format extract_format_by_name(struct str name);
const char *extract_format_name(enum extract_format f);

struct extract_limits {
    uint64_t max_input_bytes;  /* a larger file: RAG_ETOOBIG */
    uint64_t max_output_bytes; /* text, blocks and labels together */
    uint64_t max_memory_bytes; /* address space of the child */
    uint32_t cpu_s;            /* CPU time of the child */
    uint32_t wall_ms;          /* then it is killed */
};
extern const struct extract_limits extract_default_limits; /* 64 MiB, 64 MiB, 1 GiB, 20 s, 30 s */

/* Extracts in this process; used inside the child, by tests and by fuzzers. `name` serves messages and the
 * fallback title. RAG_EFORMAT with a reason for damaged input, RAG_ETOOBIG past a limit (zip and entity
 * bombs), RAG_ENOMEM. */
RAG_MUST_CHECK
rag_code extract_bytes(enum extract_format f, struct str bytes, const char *name,
                       const struct extract_limits *lim, struct text_doc *out, struct rag_err *err);

/* The same in a child: `self_exe` (this program, run as `ragd extract-child`) reads the bytes from a pipe
 * and answers on another. It has the limits as rlimits, no new privileges, no other descriptors. A child
 * that dies, hangs or answers nonsense is an error of this file only: RAG_EFORMAT, RAG_ETIMEOUT, RAG_ETOOBIG.
 * Thread-safe; blocks up to wall_ms. */
RAG_MUST_CHECK
rag_code extract_in_child(const char *self_exe, enum extract_format f, struct str bytes, const char *name,
                          const struct extract_limits *lim, struct text_doc *out, struct rag_err *err);

/* main() of `ragd extract-child FORMAT NAME`: stdin bytes, stdout result; returns the exit status. */
int extract_child_main(int argc, char **argv);

#endif
