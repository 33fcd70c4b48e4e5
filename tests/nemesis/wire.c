/* The network between the sites: one process that carries every frame from one interface to another, and does with it what it
 * is told. So links can be slow, lossy and cut, in one direction or both, on any kernel that has packet sockets; netem is not
 * needed.
 *
 *   wire INTERFACE...      e.g. wire to-dc to-dr to-gsr to-app
 *
 * The far end of the first interface has the address 02:00:00:00:00:01, of the second ...:02, and so on: that is how a frame
 * finds its way; broadcasts go to all. Orders are read from stdin, a line each:
 *
 *   link FROM TO cut                     FROM and TO are numbers of interfaces, from 1
 *   link FROM TO DELAY_US JITTER_US LOSS loss in 1/1000; 0 0 0: a good link again
 *   heal                                 all links are good
 *
 * A frame of a slow link never overtakes one of the same link before it. A cut link drops silently, as a broken line
 * does. At most HELD_MAX frames are held; more are lost, as in any router. Ends when stdin does. */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORTS_MAX = 8, HELD_MAX = 4096, FRAME_MAX = 1 << 17, ORDER_MAX = 256 };

struct link {
    bool cut;
    unsigned delay_us, jitter_us, loss;
    uint64_t last_due_us;
};

struct held { /* in order of `due_us` */
    struct held *next;
    uint64_t due_us;
    unsigned to;
    size_t bytes;
    unsigned char frame[];
};

static struct {
    unsigned ports;
    int socket[PORTS_MAX];
    struct link links[PORTS_MAX][PORTS_MAX];
    struct held *first;
    unsigned held;
    uint64_t random;
} w;

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static unsigned draw(unsigned n)
{
    w.random ^= w.random << 13; /* xorshift64 (Marsaglia 2003) */
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return (unsigned)(w.random % n);
}

/* Frames come with what the kernel left undone, checksums and segmentation, and go on with it: between namespaces nobody does
 * it. */
static int open_port(const char *name)
{
    int yes = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = (uint16_t)((ETH_P_ALL & 0xff) << 8 | ETH_P_ALL >> 8),
                             .sll_ifindex = (int)if_nametoindex(name)};
    if (fd < 0 || at.sll_ifindex == 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
        fail(name);
    return fd;
}

static void put(unsigned to, const unsigned char *frame, size_t bytes)
{
    (void)!write(w.socket[to], frame, bytes); /* a full queue loses it, as in any router */
}

static void hold(struct link *l, unsigned to, const unsigned char *frame, size_t bytes)
{
    struct held *h = w.held < HELD_MAX ? malloc(sizeof *h + bytes) : NULL;
    if (h == NULL)
        return;
    h->due_us = now_us() + l->delay_us + (l->jitter_us != 0 ? draw(l->jitter_us) : 0);
    if (h->due_us < l->last_due_us)
        h->due_us = l->last_due_us;
    l->last_due_us = h->due_us;
    h->to = to;
    h->bytes = bytes;
    memcpy(h->frame, frame, bytes);
    struct held **at = &w.first;
    while (*at != NULL && (*at)->due_us <= h->due_us)
        at = &(*at)->next;
    h->next = *at;
    *at = h;
    w.held++;
}

static void carry(unsigned from, unsigned to, const unsigned char *frame, size_t bytes)
{
    struct link *l = &w.links[from][to];
    if (from == to || l->cut || draw(1000) < l->loss)
        return;
    if (l->delay_us + l->jitter_us == 0 && l->last_due_us <= now_us())
        put(to, frame, bytes);
    else
        hold(l, to, frame, bytes);
}

static void take_frames(unsigned from)
{
    static unsigned char buffer[FRAME_MAX];
    const unsigned char *mac = buffer + sizeof(struct virtio_net_hdr);
    for (int n = 0; n < 64; n++) {
        ssize_t got = read(w.socket[from], buffer, sizeof buffer);
        if (got <= 0)
            return;
        if ((size_t)got < sizeof(struct virtio_net_hdr) + ETH_HLEN)
            continue;
        bool all = (mac[0] & 1) != 0;
        for (unsigned to = 0; to < w.ports; to++)
            if (all || mac[5] == to + 1)
                carry(from, to, buffer, (size_t)got);
    }
}

static int release_due(void)
{
    uint64_t now = now_us();
    while (w.first != NULL && w.first->due_us <= now) {
        struct held *h = w.first;
        w.first = h->next;
        w.held--;
        put(h->to, h->frame, h->bytes);
        free(h);
    }
    return w.first == NULL ? -1 : (int)((w.first->due_us - now) / 1000 + 1);
}

static void obey(const char *order)
{
    unsigned from, to;
    struct link l = {0};
    char word[8] = "";
    if (strcmp(order, "heal") == 0) {
        for (from = 0; from < w.ports; from++)
            for (to = 0; to < w.ports; to++)
                w.links[from][to] = (struct link){.last_due_us = w.links[from][to].last_due_us};
        return;
    }
    bool cut = sscanf(order, "link %u %u %7s", &from, &to, word) == 3 && strcmp(word, "cut") == 0;
    if ((!cut && sscanf(order, "link %u %u %u %u %u", &from, &to, &l.delay_us, &l.jitter_us,
                        &l.loss) != 5) ||
        from - 1 >= w.ports || to - 1 >= w.ports) {
        (void)fprintf(stderr, "wire: '%s' is no order\n", order);
        return;
    }
    l.cut = cut;
    l.last_due_us = w.links[from - 1][to - 1].last_due_us;
    w.links[from - 1][to - 1] = l;
}

static bool take_orders(void)
{
    static char text[ORDER_MAX];
    static size_t n;
    ssize_t got = read(STDIN_FILENO, text + n, sizeof text - 1 - n);
    if (got <= 0)
        return false;
    n += (size_t)got;
    text[n] = '\0';
    for (char *end; (end = strchr(text, '\n')) != NULL;) {
        *end++ = '\0';
        obey(text);
        n -= (size_t)(end - text);
        memmove(text, end, n + 1);
    }
    if (n == sizeof text - 1)
        n = 0; /* no order is that long */
    return true;
}

int main(int argc, char **argv)
{
    struct pollfd polled[PORTS_MAX + 1];
    if (argc < 3 || argc - 1 > PORTS_MAX) {
        (void)fprintf(stderr, "usage: wire INTERFACE INTERFACE...\n");
        return 2;
    }
    if (getrandom(&w.random, sizeof w.random, 0) != sizeof w.random)
        fail("getrandom");
    w.random |= 1;
    for (w.ports = 0; w.ports < (unsigned)argc - 1; w.ports++) {
        w.socket[w.ports] = open_port(argv[w.ports + 1]);
        polled[w.ports] = (struct pollfd){.fd = w.socket[w.ports], .events = POLLIN};
    }
    polled[w.ports] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        if (poll(polled, w.ports + 1, release_due()) < 0 && errno != EINTR)
            fail("poll");
        for (unsigned i = 0; i < w.ports; i++)
            if (polled[i].revents != 0)
                take_frames(i);
        if (polled[w.ports].revents != 0 && !take_orders())
            return 0;
    }
}
