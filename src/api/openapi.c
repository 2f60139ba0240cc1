/* GET /openapi.json: the description beside this file, linked in as it is. tests/e2e holds it against the routes, against
 * the fields that requests may have, and against every answer. */
#include "api/api_int.h"

__asm__(".section .rodata\n"
        ".global openapi_json\n"
        ".type openapi_json, @object\n"
        "openapi_json:\n"
        ".incbin \"src/api/openapi.json\"\n"
        "openapi_json_end:\n"
        ".byte 0\n"
        ".size openapi_json, . - openapi_json\n"
        ".global openapi_json_len\n"
        ".type openapi_json_len, @object\n"
        ".balign 8\n"
        "openapi_json_len:\n"
        ".quad openapi_json_end - openapi_json\n"
        ".size openapi_json_len, 8\n"
        ".previous\n");
extern const char openapi_json[];
extern const uint64_t openapi_json_len;

void openapi_init(struct api *api)
{
    etag_make(str_make(openapi_json, openapi_json_len), api->openapi_etag);
}

void route_openapi(struct request *rq)
{
    reply_embedded(rq, str_make(openapi_json, openapi_json_len), "application/json", rq->api->openapi_etag);
}
