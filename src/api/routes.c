#include "api/api_int.h"

/* Reading a document belongs to asking: a citation is checked against it. */
enum { READ = SCOPE_QUERY | SCOPE_INGEST };

const struct api_route api_routes[N_ROUTES] = {
    {"/v1/query", HTTP_POST, SCOPE_QUERY, false, route_query},
    {"/v1/search", HTTP_POST, SCOPE_QUERY, false, route_search},
    {"/v1/feedback", HTTP_POST, SCOPE_QUERY, false, route_feedback},
    {"/v1/embeddings", HTTP_POST, SCOPE_QUERY, true, route_embeddings},
    {"/v1/collections", HTTP_GET, READ, false, route_collections},
    {"/v1/collections/{c}", HTTP_GET, READ, false, route_collection_get},
    {"/v1/collections/{c}", HTTP_PUT, SCOPE_INGEST, false, route_collection_put},
    {"/v1/collections/{c}", HTTP_DELETE, SCOPE_INGEST, false, route_collection_delete},
    {"/v1/collections/{c}/documents", HTTP_GET, READ, false, route_documents_list},
    {"/v1/collections/{c}/documents", HTTP_POST, SCOPE_INGEST, true, route_documents_post},
    {"/v1/collections/{c}/documents", HTTP_DELETE, SCOPE_INGEST, false, route_documents_delete},
    {"/v1/collections/{c}/documents/{id}", HTTP_GET, READ, false, route_document_get},
    {"/v1/collections/{c}/documents/{id}", HTTP_DELETE, SCOPE_INGEST, false, route_document_delete},
    {"/v1/collections/{c}/documents/{id}/versions", HTTP_GET, READ, false, route_versions},
    {"/v1/labelled", HTTP_GET, READ, false, route_labelled},
    {"/v1/labelled/{name}", HTTP_GET, READ, false, route_labelled},
    {"/v1/labelled/{name}", HTTP_PUT, SCOPE_INGEST, true, route_labelled_put},
    {"/v1/labelled/{name}", HTTP_DELETE, SCOPE_INGEST, false, route_labelled},
    {"/health", HTTP_GET, 0, false, route_health},
    {"/health/live", HTTP_GET, 0, false, route_live},
    {"/health/ready", HTTP_GET, 0, false, route_ready},
    {"/health/startup", HTTP_GET, 0, false, route_startup},
    {"/metrics", HTTP_GET, 0, false, route_metrics},
    {"/v1/info", HTTP_GET, READ, false, route_info},
    {"/v1/stats", HTTP_GET, READ, false, route_stats},
    {"/v1/config", HTTP_GET, SCOPE_ADMIN, false, route_config},
    {"/openapi.json", HTTP_GET, 0, false, route_openapi},
    {"/", HTTP_GET, 0, false, route_page},
    {"/console/{file}", HTTP_GET, 0, false, route_console_file},
};
