/* One connection's bytes, over TCP or over TLS: opened blocking, used without blocking. */
#ifndef LINK_H
#define LINK_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int fd;
    SSL *tls; /* NULL over plain TCP */
} Link;

/* Connects from 127.0.0.<source> to 127.0.0.1. False with a line on stderr. */
bool link_open(Link *link, int source, int port, bool tls);
void link_unblock(Link *link);
void link_close(Link *link);

/* As read(2) and write(2): -1 with errno EAGAIN where there is nothing to do yet, 0 at the end. */
ssize_t link_read(Link *link, void *into, size_t size);
ssize_t link_write(Link *link, const void *from, size_t size);

#endif
