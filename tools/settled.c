#include "tools/settled.h"

#include "tools/admin.h"
#include "tools/record.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 5 }; /* against others who work at the list, or write, at the same time */

int settled_load(struct settled *s, struct tvn *db, struct err *e)
{
    struct tvn_records *got = NULL;
    struct tvn_error error;
    s->version = 0;
    s->done.count = 0;
    int code = tvn_get(db, s->collection, tvn_str(s->key), NULL, &got, &error);
    if (code == TVN_NOT_FOUND)
        return 0;
    if (code != 0)
        return from_client(&error, e);
    s->version = got->records[0].lsn;
    struct bytes value = from_tvn(got->records[0].value);
    json_t *o = json_loadb((const char *)value.p, value.n, JSON_REJECT_DUPLICATES, NULL);
    const char *text = json_string_value(json_object_get(o, "settled"));
    int rc = text == NULL ? err_set(e, ERR_FORMAT, "it has no member 'settled'")
                          : ordinals_read(&s->done, text, e);
    json_decref(o);
    tvn_records_free(got);
    return rc != 0 ? err_wrap(e, "record %s of collection %s", s->key, s->collection) : 0;
}

int settled_put(const struct settled *s, struct tvn_txn *txn, json_t *facts, struct err *e)
{
    int rc = 0;
    char *text = ordinals_text(&s->done);
    const bool full = facts != NULL && text != NULL &&
                      json_object_set_new(facts, "settled", json_string(text)) == 0;
    char *value = full ? json_dumps(facts, JSON_COMPACT) : NULL;
    const struct tvn_bytes key = tvn_str(s->key);
    if (value == NULL) {
        rc = err_set(e, ERR_NO_MEMORY, "no memory");
    } else {
        if (s->version == 0)
            (void)tvn_txn_if_absent(txn, s->collection, key);
        else
            (void)tvn_txn_if_version(txn, s->collection, key, s->version);
        (void)tvn_txn_put(txn, s->collection, key, tvn_str(value));
    }
    free(value);
    json_decref(facts);
    free(text);
    return rc;
}

int settled_in_pieces(size_t total, int (*try)(void *arg, size_t from, size_t n, struct err *e),
                      void *arg, struct err *e)
{
    size_t done = 0, piece = total;
    int rc = 0;
    for (int tries = 0; rc == 0 && done < total;) {
        const size_t n = piece < total - done ? piece : total - done;
        rc = try(arg, done, n, e);
        if (rc == 0) {
            done += n;
            tries = 0;
        } else if (rc == SETTLED_HALVE) {
            piece = n / 2;
            rc = 0;
        } else if (rc == SETTLED_AGAIN && ++tries < TRIES) {
            rc = 0;
        }
    }
    return rc == SETTLED_AGAIN ? err_set(e, ERR_CONDITION,
                                         "somebody else does the same, or writes these records, at "
                                         "the same time: run the command again")
                               : rc;
}

bool settled_is_of_one(int code)
{
    return code == TVN_UNIQUE || code == TVN_LIMIT || code == TVN_USAGE || code == TVN_NOT_READY;
}
