#include "times.h"

static int step_of(uint64_t us) {
    if (us < 64) return (int)us;
    int octave = 63 - __builtin_clzll(us);
    return (octave - 5) * 64 + (int)(us >> (octave - 6) & 63);
}

static double value_of(int step) {
    if (step < 64) return step;
    return (double)((uint64_t)(64 + step % 64) << (step / 64 - 1));
}

void times_add(Times *times, uint64_t since, uint64_t until, uint64_t stall) {
    uint64_t us = (until - since) / 1000;
    times->steps[step_of(us)]++;
    times->count++;
    times->sum += (double)us;
    if (us > times->most) times->most = us;
    if (until - since > stall) {
        times->slow++;
        if (since > times->stalled_until) times->stalls++;
        times->stalled_until = until;
    }
}

double times_within(const Times *times, double part) {
    uint64_t wanted = (uint64_t)(part * (double)times->count), seen = 0;
    for (int step = 0; step < 64 * 60; step++) {
        seen += times->steps[step];
        if (seen > wanted) return value_of(step);
    }
    return (double)times->most;
}
