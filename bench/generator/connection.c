#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { PER_SOURCE = 2000, READ_SIZE = 1 << 16, OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, const Connection *c) {
    fprintf(stderr, "%s: %s\n", what, (const char *)c->heard);
    exit(3);
}

/* --- out */

static void want_out(Connection *c, Run *run, bool wanted) {
    if (c->wants_out == wanted) return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(run->epoll, EPOLL_CTL_MOD, c->link.fd, &event);
    c->wants_out = wanted;
}

static void end(Connection *c, Run *run) {
    if (c->dead) return;
    c->dead = true;
    run->closed++;
    link_close(&c->link);
}

/* What is to be sent next, if anything. */
static const Message *choose(Connection *c, Run *run) {
    if (c->pending_pong.size) return &c->pending_pong;
    if (!c->welcomed || c->begun == c->tail) return NULL;
    c->begun++;
    const Message *message = &run->messages[c->next];
    c->next = (c->next + 1) % run->count;
    return message;
}

static void pump(Connection *c, Run *run) {
    for (;;) {
        if (!c->sending) {
            c->sending = choose(c, run);
            c->sent = 0;
        }
        if (!c->sending) break;
        ssize_t n = link_write(&c->link, c->sending->bytes + c->sent, c->sending->size - c->sent);
        if (n < 0 && errno != EAGAIN) {
            end(c, run);
            return;
        }
        if (n > 0) c->sent += (uint32_t)n, run->sent_bytes += (uint64_t)n;
        if (c->sent < c->sending->size) {
            want_out(c, run, true);
            return;
        }
        if (c->sending == &c->pending_pong) c->pending_pong.size = 0;
        c->sending = NULL;
    }
    want_out(c, run, false);
}

bool connection_due(Connection *c, Run *run, uint64_t at) {
    if (c->dead || c->tail - c->head == DUE) return false;
    c->due[c->tail++ % DUE] = at;
    pump(c, run);
    return true;
}

/* --- in */

static void answered(Connection *c, Run *run, uint64_t messages) {
    uint64_t now = now_ns();
    for (; messages && c->head != c->begun; messages--) {
        uint64_t since = c->due[c->head++ % DUE];
        run->answered++;
        if (run->measuring) times_add(&run->times, since, now, run->stall);
        if (run->closed_loop) c->due[c->tail++ % DUE] = now;
    }
}

static void pong(Connection *c) {
    uint32_t size = (uint32_t)c->size;
    memset(c->pong, 0, 6); /* a mask of zeros is a mask */
    c->pong[0] = 0x80 | OP_PONG;
    c->pong[1] = (uint8_t)(0x80 | size);
    memcpy(c->pong + 6, c->heard, size);
    c->pending_pong = (Message){c->pong, 6 + size};
}

static void text(Connection *c, Run *run) {
    const char *heard = (const char *)c->heard;
    if (!c->welcomed) {
        if (!strstr(heard, run->welcome)) fail("the handshake was refused", c);
        c->welcomed = true;
        run->welcomed++;
        return;
    }
    if (*run->expect && !strstr(heard, run->expect)) fail("a message was refused", c);
    if (run->answers == TEXT) answered(c, run, 1);
    if (run->answers == STORED) {
        uint64_t messages = strtoull(strstr(heard, run->expect) + strlen(run->expect), NULL, 10) / run->events;
        answered(c, run, messages - c->stored);
        c->stored = messages;
    }
}

static void frame(Connection *c, Run *run) {
    c->heard[c->size < HEARD ? c->size : HEARD] = 0;
    switch (c->header[0] & 15) {
        case OP_TEXT: text(c, run); break;
        case OP_PING: pong(c); break;
        case OP_PONG:
            if (run->answers == PONG) answered(c, run, 1);
            break;
        case OP_CLOSE: end(c, run); break;
    }
}

/* The frame's size, once its header is whole; the server does not mask. */
static bool header_is_whole(Connection *c) {
    if (c->in_header < 2) return false;
    uint32_t length = c->header[1] & 127, more = length < 126 ? 0 : length == 126 ? 2 : 8;
    if (c->in_header < 2 + more) return false;
    c->size = more ? 0 : length;
    for (uint32_t i = 0; i < more; i++) c->size = c->size << 8 | c->header[2 + i];
    return true;
}

static void feed(Connection *c, Run *run, const uint8_t *bytes, size_t size) {
    while (size && !c->dead) {
        if (!header_is_whole(c)) {
            c->header[c->in_header++] = *bytes++;
            size--;
            if (!header_is_whole(c)) continue;
            c->got = 0;
        }
        uint64_t part = c->size - c->got < size ? c->size - c->got : size;
        for (uint64_t i = 0; i < part && c->got + i < HEARD; i++) c->heard[c->got + i] = bytes[i];
        c->got += part;
        bytes += part;
        size -= part;
        if (c->got == c->size) {
            frame(c, run);
            c->in_header = 0;
        }
    }
}

void connection_ready(Connection *c, Run *run) {
    static uint8_t buffer[READ_SIZE];
    while (!c->dead) {
        ssize_t n = link_read(&c->link, buffer, sizeof buffer);
        if (n > 0) {
            feed(c, run, buffer, (size_t)n);
            if (!c->link.tls && n < READ_SIZE) break;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            end(c, run);
        }
    }
    if (!c->dead) pump(c, run);
}

/* --- the beginning */

static bool upgrade(Connection *c, Run *run, const char *path) {
    char request[4096], answer[4096];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                        path, run->port, *run->offer ? "Sec-WebSocket-Extensions: " : "", run->offer,
                        *run->offer ? "\r\n" : "");
    if (size >= (int)sizeof request || link_write(&c->link, request, (size_t)size) != size) return false;
    size_t got = 0;
    while (got < sizeof answer - 1) {
        ssize_t n = link_read(&c->link, answer + got, sizeof answer - 1 - got);
        if (n <= 0) break;
        got += (size_t)n;
        answer[got] = 0;
        char *body = strstr(answer, "\r\n\r\n");
        if (!body) continue;
        if (strncmp(answer, "HTTP/1.1 101", 12) || (*run->offer && !strstr(answer, "permessage-deflate"))) break;
        feed(c, run, (uint8_t *)body + 4, got - (size_t)(body + 4 - answer));
        return true;
    }
    answer[got] = 0;
    fprintf(stderr, "the upgrade was refused: %s\n", answer);
    return false;
}

bool connection_open(Connection *c, Run *run, int number, const char *path) {
    *c = (Connection){.next = run->count ? (uint32_t)number * 37u % run->count : 0};
    c->due = calloc(DUE, sizeof *c->due);
    if (!link_open(&c->link, 1 + number / PER_SOURCE, run->port, run->tls) || !upgrade(c, run, path)) return false;
    const Message *hello = &run->hello;
    if (hello->size && link_write(&c->link, hello->bytes, hello->size) != (ssize_t)hello->size) return false;
    c->welcomed = !*run->welcome;
    run->welcomed += c->welcomed;
    link_unblock(&c->link);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(run->epoll, EPOLL_CTL_ADD, c->link.fd, &event) == 0;
}
