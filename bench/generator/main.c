/* A WebSocket load generator for bin/bench: one thread, ready-made messages, closed loop or at a given rate.
 *
 * It prints "begin" when its measured time begins and one JSON object when it ends, and keeps the connections until
 * its standard input ends: whoever started it looks at the server at just these moments.
 */
#define _GNU_SOURCE
#include "connection.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS = 256, SETTLE_SECONDS = 120 };

static int connections = 1;
static double warm_up = 1, seconds = 1, rate = 0;
static const char *messages_file, *hello_file, *paths_file;
static bool idle = false;

static void give_up(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(2);
}

static uint8_t *contents(const char *name, uint32_t *size) {
    FILE *file = fopen(name, "rb");
    if (!file) give_up(name);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc((size_t)length + 1);
    if (fread(bytes, 1, (size_t)length, file) != (size_t)length) give_up(name);
    fclose(file);
    bytes[length] = 0;
    *size = (uint32_t)length;
    return bytes;
}

/* The file holds each message's size (u32, little endian) before it. */
static void read_messages(Run *run) {
    uint32_t size, at = 0;
    uint8_t *bytes = contents(messages_file, &size);
    while (at + 4 <= size) {
        run->messages = realloc(run->messages, (run->count + 1) * sizeof *run->messages);
        Message *message = &run->messages[run->count++];
        memcpy(&message->size, bytes + at, 4);
        message->bytes = bytes + at + 4;
        at += 4 + message->size;
    }
    if (!run->count) give_up("no messages");
}

static void read_options(Run *run, int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},    {"tls", 0, 0, 't'},    {"offer", 1, 0, 'o'},   {"hello", 1, 0, 'h'},
        {"welcome", 1, 0, 'w'}, {"paths", 1, 0, 'P'},  {"messages", 1, 0, 'm'}, {"answers", 1, 0, 'a'},
        {"expect", 1, 0, 'e'},  {"events", 1, 0, 'n'}, {"connections", 1, 0, 'c'}, {"warm-up", 1, 0, 'u'},
        {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'},   {"stall", 1, 0, 'S'},   {"idle", 0, 0, 'i'},
        {0, 0, 0, 0},
    };
    for (int found; (found = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (found) {
            case 'p': run->port = atoi(optarg); break;
            case 't': run->tls = true; break;
            case 'o': run->offer = optarg; break;
            case 'h': hello_file = optarg; break;
            case 'w': run->welcome = optarg; break;
            case 'P': paths_file = optarg; break;
            case 'm': messages_file = optarg; break;
            case 'a': run->answers = !strcmp(optarg, "text") ? TEXT : !strcmp(optarg, "pong") ? PONG : STORED; break;
            case 'e': run->expect = optarg; break;
            case 'n': run->events = (uint32_t)atoi(optarg); break;
            case 'c': connections = atoi(optarg); break;
            case 'u': warm_up = atof(optarg); break;
            case 's': seconds = atof(optarg); break;
            case 'r': rate = atof(optarg); break;
            case 'S': run->stall = (uint64_t)(atof(optarg) * 1e9); break;
            case 'i': idle = true; break;
            default: exit(2);
        }
    if (!run->port || !paths_file || (!idle && !messages_file)) give_up("--port, --paths and --messages are needed");
    if (run->answers == STORED && (!run->events || !*run->expect)) give_up("--answers stored needs --events, --expect");
}

/* One path a line; connections take them in turn. */
static char **read_paths(int *count) {
    uint32_t size;
    char *rest = (char *)contents(paths_file, &size), **paths = NULL;
    *count = 0;
    for (char *path = strtok(rest, "\n"); path; path = strtok(NULL, "\n")) {
        paths = realloc(paths, (size_t)(*count + 1) * sizeof *paths);
        paths[(*count)++] = path;
    }
    if (!*count) give_up("no paths");
    return paths;
}

static void turn(Run *run, int timeout) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(run->epoll, events, EVENTS, timeout);
    for (int i = 0; i < n; i++) {
        Connection *c = events[i].data.ptr;
        if (c && !c->dead) connection_ready(c, run);
    }
}

/* Between two messages of an open loop; whole, as the clock has it: a fraction would add up, and messages would be
   sent before they are due. */
static uint64_t gap_ns(void) { return rate > 0 ? (uint64_t)(1e9 / rate) : 0; }

/* The clock of an open loop: each of its ticks makes one message due, on the connections in turn. */
static int ticker(Run *run) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    uint64_t gap = gap_ns();
    struct itimerspec every = {{(time_t)(gap / 1000000000u), (long)(gap % 1000000000u)}, {0, 1}};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    timerfd_settime(timer, 0, &every, NULL);
    epoll_ctl(run->epoll, EPOLL_CTL_ADD, timer, &event);
    return timer;
}

typedef struct {
    uint64_t elapsed, answered, bytes, dropped, late;
} Measured;

static Measured measure(Run *run, Connection *all) {
    uint64_t start = now_ns(), begin = start + (uint64_t)(warm_up * 1e9), finish = begin + (uint64_t)(seconds * 1e9);
    uint64_t ticks = 0, answered = 0, bytes = 0;
    uint64_t gap = gap_ns();
    Measured done = {0};
    int timer = rate > 0 ? ticker(run) : -1;
    if (!idle && run->closed_loop)
        for (int i = 0; i < connections; i++) connection_due(&all[i], run, now_ns());
    for (uint64_t now; (now = now_ns()) < finish;) {
        if (!run->measuring && now >= begin) {
            puts("begin");
            fflush(stdout);
            run->measuring = true;
            begin = now, answered = run->answered, bytes = run->sent_bytes;
        }
        uint64_t more = 0;
        if (timer >= 0 && read(timer, &more, sizeof more) != sizeof more) more = 0;
        for (; more; more--, ticks++) {
            uint64_t due = start + ticks * gap;
            if (run->measuring && now > due && now - due > done.late) done.late = now - due;
            done.dropped += !connection_due(&all[ticks % (uint64_t)connections], run, due) && run->measuring;
        }
        turn(run, 5);
    }
    done.elapsed = now_ns() - begin, done.answered = run->answered - answered, done.bytes = run->sent_bytes - bytes;
    return done;
}

int main(int argc, char **argv) {
    Run run = {.offer = "", .welcome = "", .expect = "", .stall = 50000000u};
    signal(SIGPIPE, SIG_IGN);
    read_options(&run, argc, argv);
    run.closed_loop = rate <= 0;
    if (!idle) read_messages(&run);
    if (hello_file) run.hello.bytes = contents(hello_file, &run.hello.size);
    int paths;
    char **path = read_paths(&paths);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    Connection *all = calloc((size_t)connections, sizeof *all);
    uint64_t opened = now_ns();
    for (int i = 0; i < connections; i++) {
        if (!connection_open(&all[i], &run, i, path[i % paths])) return 3;
        turn(&run, 0);
    }
    uint64_t patience = now_ns() + SETTLE_SECONDS * 1000000000ull;
    while (run.welcomed < connections && !run.closed && now_ns() < patience) turn(&run, 50);
    if (run.welcomed < connections) give_up("not every connection was welcomed");
    double opening = (double)(now_ns() - opened) / 1e9;
    Measured done = measure(&run, all);
    printf("{\"seconds\": %.6f, \"answered\": %lu, \"bytes\": %lu, \"dropped\": %lu, \"closed\": %d, \"opening\": %.3f,"
           " \"late_ms\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f,"
           " \"slow\": %lu, \"stalls\": %lu}\n",
           (double)done.elapsed / 1e9, done.answered, done.bytes, done.dropped, run.closed, opening,
           (double)done.late / 1e6, times_within(&run.times, 0.5) / 1e3, times_within(&run.times, 0.9) / 1e3,
           times_within(&run.times, 0.99) / 1e3, (double)run.times.most / 1e3, run.times.slow, run.times.stalls);
    fflush(stdout);
    struct pollfd ended = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&ended, 1, 0) == 0) turn(&run, 20);
    return 0;
}
