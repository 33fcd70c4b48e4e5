#include "replication/core/ages.h"

#include <string.h>

/* Drop a mark when its neighbours are no further apart than a `part` of the later one's age. So whatever was dropped, now or
 * before, lies in a gap as small as that. The first and the last stay. */
static void thin(struct timeline *t, struct utc now, uint64_t part)
{
    uint32_t kept = 1;
    for (uint32_t i = 1; i < t->count; i++) {
        uint64_t later = t->marks[i + 1 < t->count ? i + 1 : i].time.us;
        uint64_t age = now.us > later ? now.us - later : 0;
        if (i + 1 == t->count || later - t->marks[kept - 1].time.us > age / part)
            t->marks[kept++] = t->marks[i];
    }
    t->count = kept;
}

void timeline_note(struct timeline *t, struct lsn lsn, struct utc time, uint64_t bytes)
{
    uint32_t last = t->count - 1;
    if (t->count > 0 && time.us < t->marks[last].time.us)
        time = t->marks[last].time; /* commit time never falls */
    if (t->count == 0 || time.us - t->marks[last].time.us >= TIMELINE_GRAIN_US) {
        for (uint64_t part = TIMELINE_PART; t->count == TIMELINE_MARKS && part > 0; part /= 2)
            thin(t, time, part);
        if (t->count == TIMELINE_MARKS)
            memmove(t->marks, t->marks + 1, --t->count * sizeof t->marks[0]);
        t->marks[t->count].lsn = lsn;
        t->marks[t->count].time = time;
        t->marks[t->count].bytes = t->bytes;
        t->count++;
    }
    t->bytes += bytes;
}

void timeline_cut(struct timeline *t, struct lsn keep)
{
    while (t->count > 0 && t->marks[t->count - 1].lsn.v > keep.v)
        t->bytes = t->marks[--t->count].bytes;
}

struct age age_of(const struct timeline *t, const struct age_asked *asked)
{
    struct age age = {.known = asked->at_known && asked->word_ms != 0};
    if (!age.known)
        return age;
    age.us = asked->now_ms > asked->word_ms ? (asked->now_ms - asked->word_ms) * 1000 : 0;
    age.time_known = age.bytes_known = true;
    if (asked->at.v >= asked->newest.v)
        return age;
    age.entries = asked->newest.v - asked->at.v;
    uint32_t i = t->count;
    while (i > 0 && t->marks[i - 1].lsn.v > asked->at.v + 1)
        i--;
    age.time_known = age.bytes_known = i > 0;
    if (i == 0)
        return age;
    age.bytes = t->bytes - t->marks[i - 1].bytes;
    uint64_t written = t->marks[i - 1].time.us;
    uint64_t us = asked->now.us > written ? asked->now.us - written : 0;
    if (us > age.us)
        age.us = us;
    return age;
}
