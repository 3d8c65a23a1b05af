#define _GNU_SOURCE
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A server whose queue is full drops the first packet; the next comes after a second. */
enum { PATIENCE_SECONDS = 20 };

static SSL_CTX *context(void) {
    static SSL_CTX *made;
    if (!made) {
        made = SSL_CTX_new(TLS_client_method());
        /* The certificate was made for this run; its worth is not what is measured. */
        SSL_CTX_set_verify(made, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return made;
}

bool link_open(Link *link, int source, int port, bool tls) {
    int yes = 1;
    struct timeval patience = {PATIENCE_SECONDS, 0};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | (unsigned)source)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    link->tls = NULL;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        perror("socket");
        return false;
    }
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(link->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    setsockopt(link->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(link->fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        connect(link->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        perror("connect");
        return false;
    }
    if (tls) {
        link->tls = SSL_new(context());
        SSL_set_fd(link->tls, link->fd);
        if (SSL_connect(link->tls) != 1) {
            ERR_print_errors_fp(stderr);
            return false;
        }
    }
    return true;
}

void link_unblock(Link *link) { fcntl(link->fd, F_SETFL, fcntl(link->fd, F_GETFL) | O_NONBLOCK); }

void link_close(Link *link) {
    if (link->tls) SSL_free(link->tls);
    close(link->fd);
}

/* What a TLS call came to, in the terms of read(2). */
static ssize_t outcome(Link *link, int done) {
    if (done > 0) return done;
    switch (SSL_get_error(link->tls, done)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
        case SSL_ERROR_ZERO_RETURN: return 0;
        default: ERR_clear_error(); errno = ECONNRESET; return -1;
    }
}

ssize_t link_read(Link *link, void *into, size_t size) {
    return link->tls ? outcome(link, SSL_read(link->tls, into, (int)size)) : read(link->fd, into, size);
}

ssize_t link_write(Link *link, const void *from, size_t size) {
    return link->tls ? outcome(link, SSL_write(link->tls, from, (int)size)) : write(link->fd, from, size);
}
