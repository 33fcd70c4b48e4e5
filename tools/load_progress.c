#include "tools/load_progress.h"

#include <jansson.h>
#include <stdio.h>

size_t load_progress_write(const struct load_progress *p, char out[LOAD_PROGRESS_BYTES])
{
    int n = snprintf(out, LOAD_PROGRESS_BYTES,
                     "{\"lines\":%llu,\"offset\":%llu,\"crc32c\":%u,\"open_end\":%s,\"records\":%"
                     "llu,\"rejected\":%llu,"
                     "\"rejects_bytes\":%llu,\"done\":%s}",
                     (unsigned long long)p->lines, (unsigned long long)p->offset, p->crc,
                     p->open_end ? "true" : "false", (unsigned long long)p->records,
                     (unsigned long long)p->rejected, (unsigned long long)p->rejects_bytes,
                     p->done ? "true" : "false");
    return (size_t)n;
}

int load_progress_read(struct bytes json, struct load_progress *out, struct err *e)
{
    json_error_t why;
    json_t *j = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, &why);
    json_int_t lines;
    json_int_t offset;
    json_int_t crc;
    json_int_t records;
    json_int_t rejected;
    json_int_t rejects_bytes;
    int open_end;
    int done;
    int rc = j == NULL ? -1
                       : json_unpack(j, "{s:I,s:I,s:I,s:b,s:I,s:I,s:I,s:b}", "lines", &lines,
                                     "offset", &offset, "crc32c", &crc, "open_end", &open_end,
                                     "records", &records, "rejected", &rejected, "rejects_bytes",
                                     &rejects_bytes, "done", &done);
    json_decref(j);
    if (rc != 0 || lines < 0 || offset < 0 || crc < 0 || crc > UINT32_MAX || records < 0 ||
        rejected < 0 || rejects_bytes < 0)
        return err_set(e, ERR_FORMAT,
                       "the progress record is not one of triveni load: use another --name");
    *out = (struct load_progress){.lines = (uint64_t)lines,
                                  .offset = (uint64_t)offset,
                                  .crc = (uint32_t)crc,
                                  .open_end = open_end != 0,
                                  .records = (uint64_t)records,
                                  .rejected = (uint64_t)rejected,
                                  .rejects_bytes = (uint64_t)rejects_bytes,
                                  .done = done != 0};
    return 0;
}
