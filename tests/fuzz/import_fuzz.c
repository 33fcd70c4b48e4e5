/* What people feed: JSON text, lines to load, times, and the text of a transaction. The first byte chooses. */
#include "client/triveni.h"
#include "store/core/body.h"
#include "store/core/check.h"
#include "tools/import.h"
#include "tools/json.h"
#include "tools/text.h"
#include "tools/txn_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A value is printed as JSON that reads back as the same value, but for line ends and space around JSON. */
static void value(struct bytes b)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    check(f != NULL);
    json_put_value(f, b);
    check(fclose(f) == 0);
    check(memchr(text, '\n', n) == NULL);
    check(json_shape(bytes_of(text, n), NULL) != JSON_SHAPE_NONE);
    enum json_shape shape = json_shape(b, NULL);
    long back = json_take_value(bytes_of(text, n), (uint8_t *)text);
    check(back >= 0);
    if (shape == JSON_SHAPE_NONE || shape == JSON_SHAPE_STRING)
        check(bytes_equal(bytes_of(text, (size_t)back), b));
    free(text);
}

static void line(struct import im, struct bytes b)
{
    struct imported r;
    struct err e = ERR_NONE;
    size_t column = 0;
    check(import_begin(&im, &e) == 0);
    for (int i = 0; i < 2; i++) { /* the first may be a header */
        int rc = import_line(&im, b, &r, &column, &e);
        check(column >= 1 && column <= b.n + 2);
        if (rc == 1)
            check(r.key.n >= 1 && r.key.n <= KEY_MAX_BYTES && r.value.n <= VALUE_MAX_BYTES);
    }
    import_end(&im);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes b = bytes_of(data + 1, size - 1);
    char time[64];
    struct utc t;
    size_t steps;
    switch (data[0] % 8) {
    case 0:
        value(b);
        break;
    case 1:
        line((struct import){.format = IMPORT_JSONL, .key = "id"}, b);
        break;
    case 2:
        line((struct import){.format = IMPORT_JSONL, .key = "/a/0", .value = "/b~1c"}, b);
        break;
    case 3:
        line((struct import){.format = IMPORT_TSV}, b);
        break;
    case 4:
        line((struct import){.format = IMPORT_TSV, .header = true, .key = "1"}, b);
        break;
    case 5:
        line((struct import){.format = IMPORT_DUMP}, b);
        break;
    case 6:
        (void)snprintf(time, sizeof time, "%.*s", (int)(b.n < 63 ? b.n : 63), (const char *)b.p);
        if (utc_parse(time, &t, NULL) == 0) {
            char text[UTC_TEXT_BYTES];
            struct utc back;
            check(t.us / 1000000 > 253402300799 || utc_parse(utc_text(t, text), &back, NULL) == 0);
        }
        break;
    default: {
        struct tvn_txn *txn = tvn_txn_new();
        struct err e = ERR_NONE;
        check(txn != NULL);
        (void)txn_text_parse("f", b, txn, &steps, &e);
        tvn_txn_free(txn);
    }
    }
    return 0;
}
