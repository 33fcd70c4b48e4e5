/* One end of a TLS connection without its socket: ciphertext in, plaintext out, and the reverse. Sans-IO, so that a test can
 * put two of them back to back and cut, flip and delay what passes between.
 *
 * A channel is pinned in memory between open and deinit (OpenSSL holds its address). Inert when zero. */
#ifndef REPLICATION_IO_CHANNEL_H
#define REPLICATION_IO_CHANNEL_H

#include "replication/io/buffer.h"
#include "replication/io/tls.h"

enum {
    CHANNEL_READ_MIN_BYTES = 16 << 10, /* room to offer channel_read: one TLS record */
    CHANNEL_OUT_MAX_BYTES = 1 << 20, /* of ciphertext not taken away; more is a bug or an attack */
};

struct channel {
    SSL *ssl;
    struct bytes in;   /* ciphertext given by channel_feed and not yet consumed */
    struct buffer out; /* ciphertext for the peer: look here after every call */
    bool drained;      /* everything that was fed has been read: there is no part of a record */
    bool broken;       /* a fatal TLS error: only deinit is left (alerts may be in `out`) */
    uint64_t sealed_bytes, rekey_bytes;
    char verdict[TLS_TEXT_BYTES]; /* why the peer's certificate was refused */
};

int channel_open(struct channel *ch, SSL_CTX *tls, bool server, struct err *e);
void channel_deinit(struct channel *ch);

/* Offer received bytes. They stay the caller's and must stay in place until handshake or read has consumed them. */
void channel_feed(struct channel *ch, struct bytes ciphertext);
/* 0, and *done tells whether the handshake is over on this side; or ERR_DENIED (certificates), ERR_FORMAT (no TLS 1.3). */
int channel_handshake(struct channel *ch, bool *done, struct err *e);
/* 0 with *got bytes; *got 0: feed more, or *closed: the peer said that it closes. ERR_DENIED: the peer refused us. Called again
 * until nothing is got, or `drained`. */
int channel_read(struct channel *ch, uint8_t *p, size_t cap, size_t *got, bool *closed,
                 struct err *e);
int channel_write(struct channel *ch, struct bytes plain, struct err *e);
void channel_shutdown(struct channel *ch); /* puts close_notify into `out` */
bool channel_has_part_of_record(const struct channel *ch);

#endif
