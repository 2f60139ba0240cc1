#include "test.h"

#include "wire/sse_read.h"

/* Events are written down as "name=data;". */
static bool note(void *ctx, struct str name, struct str data)
{
    struct buf *b = ctx;
    buf_adds(b, name);
    buf_addc(b, '=');
    buf_adds(b, data);
    buf_addc(b, ';');
    return true;
}

static rag_code feed(struct sse_reader *r, struct str s, size_t piece, struct buf *out)
{
    rag_code rc = RAG_OK;
    for (size_t i = 0; i < s.len && !rc; i += piece) {
        size_t n = s.len - i < piece ? s.len - i : piece;
        char *copy = mem_strndup(MEM_MISC, s.ptr + i, n); /* its own block: a read beyond it is seen */
        rc = sse_reader_feed(r, str_make(copy, n), note, out);
        mem_free(MEM_MISC, copy);
    }
    return rc;
}

static void check_events(struct str stream, const char *want)
{
    for (size_t piece = 1; piece <= stream.len; piece++) {
        struct sse_reader r = {0};
        struct buf got = {0};
        CHECK_OK(feed(&r, stream, piece, &got));
        CHECK_STR(buf_str(&got), want);
        buf_clear(&got);
        sse_reader_clear(&r);
    }
}

TEST(events_come_whole_however_the_bytes_are_cut)
{
    check_events(STR_LIT("data: {\"a\":1}\n\ndata: [DONE]\n\n"), "message={\"a\":1};message=[DONE];");
    check_events(STR_LIT("data: a\r\n\r\ndata: b\r\n\r\n"), "message=a;message=b;");
    check_events(STR_LIT("data: a\r\rdata: b\r\r"), "message=a;message=b;");
    check_events(STR_LIT("data: a\r\n\ndata: b\n\r\ndata:c\r\r\n"), "message=a;message=b;message=c;");
    check_events(STR_LIT("\xEF\xBB\xBF"
                         "data: 年费\n\n"),
                 "message=年费;");
}

TEST(fields_are_read_as_the_standard_says)
{
    check_events(STR_LIT("event: error\ndata: x\n\ndata: y\n\n"), "error=x;message=y;");
    check_events(STR_LIT(": hello\nid: 7\nretry: 10\ndata:a\ndata: b\ndata:  c\n\n"), "message=a\nb\n c;");
    check_events(STR_LIT("data\ndata\n\n"), "message=\n;");
    check_events(STR_LIT("data:\n\n"), "message=;");
    check_events(STR_LIT("event: lost\n\ndata: a\n\n"), "message=a;");
    check_events(STR_LIT("event: a\nevent: b\ndata: x:y\n\n"), "b=x:y;");
    check_events(STR_LIT(" data: no\nDATA: no\ndatax: no\n\n"), "");
    check_events(STR_LIT("\n\xEF\xBB\xBF"
                         "data: no\n\n"),
                 "");
    check_events(STR_LIT("\xEF\xBB\xBF\xEF\xBB\xBF"
                         "data: no\n\n"),
                 "");
}

TEST(an_event_without_its_empty_line_is_not_delivered)
{
    check_events(STR_LIT("data: a\n\ndata: half\n"), "message=a;");
    check_events(STR_LIT("data: a\n\ndata: half"), "message=a;");
    check_events(STR_LIT("\r\n\r\n"), "");
    check_events(STR_LIT("\n"), "");
}

static bool stop(void *ctx, struct str name, struct str data)
{
    (void)name;
    (void)data;
    ++*(int *)ctx;
    return false;
}

TEST(the_receiver_can_stop)
{
    struct sse_reader r = {0};
    int calls = 0;
    CHECK_EQ(sse_reader_feed(&r, STR_LIT("data: a\n\ndata: b\n\n"), stop, &calls), RAG_ECANCELED);
    CHECK_EQ(calls, 1);
    sse_reader_clear(&r);
}

static rag_code feed_repeated(const char *head, char c, size_t n, const char *tail, struct buf *out)
{
    struct sse_reader r = {0};
    struct buf b = {0};
    buf_addz(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_addc(&b, c);
    buf_addz(&b, tail);
    rag_code rc = feed(&r, buf_str(&b), 70000, out);
    buf_clear(&b);
    sse_reader_clear(&r);
    return rc;
}

TEST(an_event_has_a_largest_size)
{
    struct buf out = {0};
    CHECK_OK(feed_repeated("data: ", 'x', SSE_MAX_EVENT_BYTES, "\n\n", &out));
    CHECK_EQ(out.len, SSE_MAX_EVENT_BYTES + strlen("message=;"));
    buf_reset(&out);
    CHECK_EQ(feed_repeated("data: ", 'x', SSE_MAX_EVENT_BYTES + 1, "\n\n", &out), RAG_ETOOBIG);
    CHECK_EQ(feed_repeated("data: x\ndata: ", 'x', SSE_MAX_EVENT_BYTES - 1, "\n\n", &out), RAG_ETOOBIG);
    CHECK_EQ(feed_repeated(": ", 'x', 2 * SSE_MAX_EVENT_BYTES, "", &out), RAG_ETOOBIG);
    CHECK_EQ(out.len, 0);
    buf_clear(&out);
}

TEST(a_failed_allocation_is_told)
{
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct sse_reader r = {0};
        int calls = 0;
        fault_arm_alloc(nth);
        rag_code rc = sse_reader_feed(&r, STR_LIT("event: x\ndata: a"), stop, &calls);
        if (!rc)
            rc = sse_reader_feed(&r, STR_LIT("b\n\n"), stop, &calls);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_ECANCELED);
        CHECK_EQ(calls, fired ? 0 : 1);
        sse_reader_clear(&r);
    }
}
