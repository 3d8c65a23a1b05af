/* Times of answers: a histogram with 64 steps an octave (1.6 %), in microseconds, and the stalls among them. */
#ifndef TIMES_H
#define TIMES_H

#include <stdint.h>

typedef struct {
    uint64_t steps[64 * 60];
    uint64_t count, most;
    double sum;
    uint64_t stalls, slow, stalled_until;
} Times;

/* What was asked for at `since` was answered at `until` (ns). Answers later than `stall` (ns) are slow; those whose
 * waiting overlaps belong to one stall. */
void times_add(Times *times, uint64_t since, uint64_t until, uint64_t stall);

/* The time (microseconds) within which this part of the answers came. */
double times_within(const Times *times, double part);

#endif
