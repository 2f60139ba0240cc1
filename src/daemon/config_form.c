/* Strings with a form: addresses, URLs, names. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/config_loader.h"

/* ---- addresses ----------------------------------------------------------------------------------------- */
bool config_split_listen(const char *listen, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = strrchr(listen, ':'), *from = listen, *to = colon;
    if (!colon || colon == listen)
        return false;
    if (*listen == '[') {
        if (colon[-1] != ']')
            return false;
        from++;
        to--;
    } else if (memchr(listen, ':', (size_t)(colon - listen))) {
        return false;
    }
    size_t n = (size_t)(to - from), digits = strspn(colon + 1, "0123456789");
    if (n == 0 || n >= host_size || digits == 0 || digits > 5 || colon[1 + digits])
        return false;
    long p = strtol(colon + 1, NULL, 10);
    if (p > 65535)
        return false;
    memcpy(host, from, n);
    host[n] = 0;
    *port = (uint16_t)p;
    return true;
}

bool config_is_loopback(const char *host)
{
    struct in_addr a4;
    struct in6_addr a6;
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &a4) == 1)
        return ntohl(a4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &a6) == 1 && IN6_IS_ADDR_LOOPBACK(&a6);
}

uint32_t config_connections(const struct config *c)
{
    return c->max_connections ? c->max_connections : c->max_queries * 2 + 2000;
}

/* The host of a URL in its range; 0: it is no http(s)://HOST[:PORT][/PATH]. */
static size_t url_host(const char *url, const char **host)
{
    size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
    const char *from = url + scheme;
    size_t n = strcspn(from, "/");
    if (!scheme || from[strcspn(from, "?#@\\ \"<>^`{|}")])
        return 0;
    for (const char *p = from; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F)
            return 0;
    char all[300], name[256];
    uint16_t port;
    const char *colon = memchr(from, ':', n), *closed = memchr(from, ']', n);
    bool has_port = *from == '[' ? closed && closed + 1 < from + n : colon != NULL;
    if (n == 0 ||
        snprintf(all, sizeof all, "%.*s%s", (int)n, from, has_port ? "" : ":1") >= (int)sizeof all ||
        !config_split_listen(all, name, sizeof name, &port) || port == 0)
        return 0;
    *host = *from == '[' ? from + 1 : from;
    return strlen(name);
}

bool cfg_url_is_local(const char *url)
{
    const char *host;
    char name[256];
    size_t n = url_host(url, &host);
    if (n == 0 || n >= sizeof name)
        return false;
    memcpy(name, host, n);
    name[n] = 0;
    return config_is_loopback(name);
}

/* A URL may hold a password: the messages do not repeat it. */
bool cfg_check_url(struct loader *l, const char *what, const yaml_node_t *n, const char *s)
{
    static const char route[] = "/chat/completions";
    const char *host;
    size_t len = strlen(s);
    while (len && s[len - 1] == '/')
        len--;
    if (strchr(s, '@'))
        cfg_complain(l, n,
                     "%s: a user or password must not stand in the address: use api_key_env or api_key_file",
                     what);
    else if (!url_host(s, &host))
        cfg_complain(
            l, n, "%s: wants http:// or https://, a host and a path, like https://api.example.com/v1", what);
    else if (len >= sizeof route - 1 && memcmp(s + len - (sizeof route - 1), route, sizeof route - 1) == 0)
        cfg_complain(l, n, "%s: leave out %s: the address ends before it", what, route);
    else
        return true;
    return false;
}

bool cfg_is_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= 64 &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == 0 &&
           strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

/* A key that stands in the place of its variable's name is not repeated by the message. */
bool cfg_check_env_name(struct loader *l, const char *what, const yaml_node_t *n, const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    if (*s && !isdigit((unsigned char)*s) && !s[strspn(s, letters)] && strlen(s) <= 64)
        return true;
    cfg_complain(l, n, "%s: wants the name of an environment variable, not the key itself", what);
    return false;
}

/* Names of models stand in URLs, labels and requests. The API answers to `ragd` and `ragd/...` itself. */
bool cfg_check_model_name(struct loader *l, const char *what, const yaml_node_t *n, const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/@+-";
    if (!*s || strlen(s) > 128 || s[strspn(s, letters)]) {
        cfg_complain(l, n, "%s: wants 1 to 128 of A-Z a-z 0-9 _ . : / @ + -", what);
        return false;
    }
    if (strcmp(s, "ragd") == 0 || strncmp(s, "ragd/", 5) == 0) {
        cfg_complain(l, n, "%s: '%s' is the API's own name: choose another", what, s);
        return false;
    }
    return true;
}
