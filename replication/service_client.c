/* How long a client is kept: until nobody refers to it any more, which is later than its connection. Waiters, parked requests,
 * orders and hand-overs each hold a reference of their own. */
#include "replication/service.h"

#include "store/core/check.h"

struct client *client_ref(struct client *c)
{
    c->references++;
    return c;
}

void client_unref(struct client *c)
{
    check(c->references > 0);
    if (--c->references == 0) {
        check(c->conn == NULL);
        free(c);
    }
}
