/* One WebSocket client: shakes hands, sends ready-made messages when they are due, and counts the answers. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "link.h"
#include "times.h"

#include <stdbool.h>
#include <stdint.h>

enum { DUE = 4096, HEARD = 256 };

typedef struct {
    uint8_t *bytes;
    uint32_t size;
} Message;

/* What all connections have in common. */
typedef struct {
    int port;
    bool tls;
    const char *offer;   /* Sec-WebSocket-Extensions, or "" */
    Message hello;       /* sent first, where it has a size */
    const char *welcome; /* what the answer to it holds; "" where there is none */
    Message *messages;   /* sent one after the other, again and again */
    uint32_t count;
    enum { TEXT, PONG, STORED } answers; /* which answer is counted */
    const char *expect;                  /* what an answer that is a text holds; "" takes any */
    uint32_t events;                     /* STORED: events of a message, to count by */
    bool closed_loop;                    /* an answer makes the next message due */
    uint64_t stall;                      /* ns */
    /* told while it runs */
    int epoll;
    bool measuring;
    uint64_t answered, sent_bytes;
    int welcomed, closed;
    Times times;
} Run;

typedef struct {
    Link link;
    bool welcomed, dead, wants_out;
    uint32_t next;                   /* message */
    const Message *sending;          /* begun, with `sent` bytes of it gone */
    uint32_t sent;
    uint64_t *due;                   /* a ring of times (ns), read at head; [head, begun) were sent, [begun, tail) wait */
    uint32_t head, begun, tail;
    uint64_t stored;                 /* STORED: messages */
    uint8_t header[10], heard[HEARD + 1];
    uint32_t in_header;
    uint64_t size, got;              /* of the frame that comes in */
    uint8_t pong[6 + 125];
    Message pending_pong;            /* its bytes are `pong` */
} Connection;

uint64_t now_ns(void);

/* Connect, upgrade, say hello. False with a line on stderr. */
bool connection_open(Connection *c, Run *run, int number, const char *path);
/* A message is due at this time; false where too many wait already. */
bool connection_due(Connection *c, Run *run, uint64_t at);
/* epoll has something for it. Exits the program where the server refuses. */
void connection_ready(Connection *c, Run *run);

#endif
