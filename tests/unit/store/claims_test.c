/* Claims against a model that is a plain list of them. */
#include "store/claims.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { VALUES = 40, KEYS = 60, MOST = 5000 };

struct model {
    struct {
        unsigned index, value, key;
        uint64_t lsn; /* UINT64_MAX: pending */
    } v[MOST];
    size_t n;
};

static struct bytes text(char out[16], const char *what, unsigned i)
{
    return bytes_of(out, (size_t)snprintf(out, 16, "%s-%u", what, i));
}

/* Each claim of the value is found as often as it is in the model; newest first. */
static void compare(const struct claims *c, const struct model *m, unsigned index, unsigned value)
{
    char a[16], b[16];
    const void *at = NULL;
    struct bytes key;
    size_t i = m->n;
    while (claims_next(c, index, text(a, "value", value), &at, &key)) {
        do
            assert_true(i-- > 0);
        while (m->v[i].index != index || m->v[i].value != value);
        assert_true(bytes_equal(key, text(b, "key", m->v[i].key)));
    }
    assert_null(at);
    while (i-- > 0)
        assert_true(m->v[i].index != index || m->v[i].value != value);
}

static void forget(struct model *m, size_t from, size_t n)
{
    memmove(&m->v[from], &m->v[from + n], (m->n - from - n) * sizeof m->v[0]);
    m->n -= n;
}

static unsigned below(uint64_t *seed, unsigned n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*seed >> 33) % n;
}

static void claims_are_found_until_they_leave(void **state)
{
    (void)state;
    static struct model m;
    for (uint64_t round = 1; round <= 20; round++) {
        struct claims *c = claims_new(round);
        uint64_t seed = round, lsn = 0;
        assert_non_null(c);
        m.n = 0;
        for (unsigned step = 0; step < 2000; step++) {
            char a[16], b[16];
            const unsigned adds = below(&seed, 4);
            const size_t before = m.n;
            for (unsigned i = 0; i < adds && m.n < MOST; i++) {
                const unsigned index = below(&seed, 2), value = below(&seed, VALUES),
                               key = below(&seed, KEYS);
                assert_int_equal(
                    claims_add(c, index, text(a, "value", value), text(b, "key", key), NULL), 0);
                m.v[m.n].index = index;
                m.v[m.n].value = value;
                m.v[m.n].key = key;
                m.v[m.n++].lsn = UINT64_MAX;
            }
            compare(c, &m, below(&seed, 2), below(&seed, VALUES)); /* pending ones count */
            if (below(&seed, 4) == 0) {
                claims_abandon(c);
                m.n = before;
            } else {
                claims_settle(c, (struct lsn){++lsn});
                for (size_t i = before; i < m.n; i++)
                    m.v[i].lsn = lsn;
            }
            if (below(&seed, 30) == 0 && lsn > 0) {
                const uint64_t applied = lsn - below(&seed, (unsigned)(lsn < 50 ? lsn : 50));
                size_t gone = 0;
                while (gone < m.n && m.v[gone].lsn <= applied)
                    gone++;
                claims_drop(c, (struct lsn){applied});
                forget(&m, 0, gone);
            }
            if (below(&seed, 700) == 0) {
                claims_clear(c);
                m.n = 0;
            }
            compare(c, &m, below(&seed, 2), below(&seed, VALUES));
        }
        claims_free(c);
    }
}

static void many_values_are_told_apart(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct claims *c = claims_new(7);
    char a[16], b[16];
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(claims_add(c, 1, text(a, "value", i), text(b, "key", i), NULL), 0);
        claims_settle(c, (struct lsn){i + 1});
    }
    for (unsigned i = 0; i < MANY; i++) {
        const void *at = NULL;
        struct bytes key;
        assert_true(claims_next(c, 1, text(a, "value", i), &at, &key));
        assert_true(bytes_equal(key, text(b, "key", i)));
        assert_false(claims_next(c, 1, text(a, "value", i), &at, &key));
        at = NULL;
        assert_false(claims_next(c, 2, text(a, "value", i), &at, &key));
    }
    claims_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_are_found_until_they_leave),
        cmocka_unit_test(many_values_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
