/* Errors as the public header has them. The codes are those of store/core/err.h, one to one. */
#include "client/internal.h"

/* What the public header repeats of the internal ones is the same. */
#define SAME(a, b) _Static_assert((int)(a) == (int)(b), #a " is " #b)
#define SAME_CODE(name) SAME(TVN_##name, ERR_##name)
#define SAME_LEVEL(name) SAME(TVN_ACK_##name, LEVEL_##name)
SAME_CODE(FAILED);
SAME_CODE(USAGE);
SAME_CODE(NOT_FOUND);
SAME_CODE(UNREACHABLE);
SAME_CODE(TIMEOUT);
SAME_CODE(CONDITION);
SAME_CODE(NOT_PRIMARY);
SAME_CODE(INTEGRITY);
SAME_CODE(DENIED);
SAME_CODE(OUTCOME_UNKNOWN);
SAME_CODE(IO);
SAME_CODE(NO_SPACE);
SAME_CODE(NO_MEMORY);
SAME_CODE(LIMIT);
SAME_CODE(FORMAT);
SAME_CODE(BUSY);
SAME_CODE(EXISTS);
SAME_CODE(SESSION_EXPIRED);
SAME_CODE(GAP);
SAME_CODE(CONFIG);
SAME_CODE(CANCELLED);
SAME_CODE(STALE);
SAME_CODE(NEWER);
SAME_CODE(UNIQUE);
SAME_CODE(NOT_READY);
SAME_CODE(KEY_USED);
SAME(TVN_ACK_DEFAULT, LEVEL_MODE);
SAME_LEVEL(LOCAL);
SAME_LEVEL(MAJORITY);
SAME_LEVEL(DR);
SAME_LEVEL(GSR);
SAME_LEVEL(ALL);
SAME(TVN_ERROR_TEXT_BYTES, ERR_TEXT_BYTES);
SAME(TVN_KEY_MAX_BYTES, KEY_MAX_BYTES);
SAME(TVN_COLLECTION_MAX_BYTES, COLLECTION_MAX_BYTES);
SAME(TVN_VALUE_MAX_BYTES, VALUE_MAX_BYTES);
SAME(TVN_TXN_MAX_OPS, TXN_MAX_OPS);
SAME(TVN_POINT_NAME_MAX_BYTES, POINT_NAME_MAX_BYTES);
SAME(TVN_IDEMPOTENCY_KEY_MAX_BYTES, IDEMPOTENCY_KEY_MAX_BYTES);

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *tvn_version(void)
{
    return STRING(TVN_VERSION_MAJOR) "." STRING(TVN_VERSION_MINOR) "." STRING(TVN_VERSION_PATCH);
}

const char *tvn_strerror(int code)
{
    switch (code) {
    case TVN_OK:
        return "success";
    case TVN_FAILED:
        return "failed";
    case TVN_USAGE:
        return "a wrong argument";
    case TVN_NOT_FOUND:
        return "not found";
    case TVN_UNREACHABLE:
        return "no site could be reached";
    case TVN_TIMEOUT:
        return "no answer before the deadline";
    case TVN_CONDITION:
        return "a condition of the transaction did not hold; nothing was changed";
    case TVN_NOT_PRIMARY:
        return "no site that answered is the primary";
    case TVN_INTEGRITY:
        return "stored data is damaged";
    case TVN_DENIED:
        return "not permitted";
    case TVN_OUTCOME_UNKNOWN:
        return "it is unknown whether the write took effect; ask for its outcome before doing it "
               "again";
    case TVN_IO:
        return "input or output failed";
    case TVN_NO_SPACE:
        return "no space is left at a site";
    case TVN_NO_MEMORY:
        return "out of memory";
    case TVN_LIMIT:
        return "larger than allowed";
    case TVN_FORMAT:
        return "malformed bytes";
    case TVN_BUSY:
        return "busy: too much is in flight";
    case TVN_EXISTS:
        return "it exists already";
    case TVN_SESSION_EXPIRED:
        return "the session has ended; nothing was run a second time";
    case TVN_GAP:
        return "that part of the log is gone";
    case TVN_CONFIG:
        return "wrong configuration";
    case TVN_CANCELLED:
        return "the handle was closed first";
    case TVN_STALE:
        return "too old for this request";
    case TVN_NEWER:
        return "written by a newer version";
    case TVN_UNIQUE:
        return "another record has that value in a unique index; nothing was changed";
    case TVN_NOT_READY:
        return "the index is still being built";
    case TVN_KEY_USED:
        return "the idempotency key stands for another transaction, or was given up; nothing was "
               "changed";
    default:
        return "unknown code";
    }
}

const char *tvn_code_name(int code)
{
    return err_name(code);
}

int tvn_exit_code(int code)
{
    return err_exit_code(code);
}

static int retryable(int code)
{
    switch (code) {
    case ERR_UNREACHABLE:
    case ERR_TIMEOUT:
    case ERR_NOT_PRIMARY:
    case ERR_OUTCOME_UNKNOWN:
    case ERR_BUSY:
    case ERR_NO_SPACE:
    case ERR_NO_MEMORY:
    case ERR_STALE:
    case ERR_NEWER:
    case ERR_NOT_READY:
        return 1;
    default:
        return 0;
    }
}

void client_error_none(struct tvn_error *out)
{
    if (out == NULL)
        return;
    memset(out, 0, sizeof *out);
    out->condition = -1;
}

int client_error_set(struct tvn_error *out, const struct err *e, enum tvn_outcome_kind outcome)
{
    if (out == NULL)
        return e->code;
    client_error_none(out);
    out->code = e->code;
    out->outcome = (int)outcome;
    out->retryable = retryable(e->code);
    memcpy(out->text, e->text, sizeof out->text);
    out->text[sizeof out->text - 1] = '\0';
    return e->code;
}
