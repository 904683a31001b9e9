#define _GNU_SOURCE
#include "records.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "failing.h"

/* Content types (RFC 8446, 5.1). */
enum { ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23 };

enum {
    RECEIVED = 262144,              /* bytes of received records that are held at most */
    SEALED = 524288,                /* bytes of sealed records that are held at most */
    FIRST_BATCH = 65536,            /* the first batch is sent soon: the peer has something to do */
    LARGEST_BATCH = SEALED - 18432, /* leaves room for one more record, and a key update */
    SHORT = 64,                     /* a record that may be other than data has no more content */
};

/* What a step of receiving led to. Those below LATER break the connection. */
enum progress {
    UNRULY = -2, /* one record without data too many */
    BROKEN = -1,
    LATER = 0, /* nothing more is there now */
    MORE = 1,
    OVER = 2, /* close_notify */
};

/* Alerts (6.1, 6.2), and the handshake message that changes keys and asks for no answer (4.6.3). */
static const unsigned char close_notify[] = {1, 0};
static const unsigned char unexpected_message[] = {2, 10};
static const unsigned char bad_record_mac[] = {2, 20};
static const unsigned char key_update[] = {24, 0, 0, 1, 0};

enum { KEY_UPDATE = sizeof key_update };

_Static_assert(RECORD_ALLOWANCE < RECORDS_PER_CALL,
               "a call that opens as many records as it may has met data");
_Static_assert(SEALED - LARGEST_BATCH >= RECORD_HEADER + RECORD_PLAINTEXT + RECORD_OVERHEAD +
                                             RECORD_HEADER + KEY_UPDATE + RECORD_OVERHEAD,
               "a full record and a key update fit behind the largest batch");

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- keys ---- */

/* HKDF-Expand-Label with SHA-256 and an empty context (7.1). */
static bool expand(const unsigned char *secret, const char *label, unsigned char *to, size_t size)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM given[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, RECORD_SECRET),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    bool good = context != NULL && EVP_KDF_derive(context, to, size, given) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return good;
}

/* Takes key and IV from the direction's secret (7.3); its records are counted anew. */
static bool use_secret(struct record_direction *d)
{
    unsigned char key[RECORD_KEY];
    bool good = expand(d->secret, "key", key, sizeof key) &&
                expand(d->secret, "iv", d->iv, sizeof d->iv) &&
                EVP_CipherInit_ex(d->aead, EVP_aes_128_gcm(), NULL, key, NULL, d->seals) == 1;
    OPENSSL_cleanse(key, sizeof key);
    d->records = 0;
    return good;
}

/* Replaces the direction's secret with the one that follows it (7.2). */
static bool use_next_secret(struct record_direction *d)
{
    unsigned char next[RECORD_SECRET];
    bool good = expand(d->secret, "traffic upd", next, sizeof next);
    if (good) {
        memcpy(d->secret, next, sizeof next);
        good = use_secret(d);
    }
    OPENSSL_cleanse(next, sizeof next);
    return good;
}

static bool open_direction(struct record_direction *d, const unsigned char *secret, bool seals)
{
    d->seals = seals;
    memcpy(d->secret, secret, RECORD_SECRET);
    d->aead = EVP_CIPHER_CTX_new();
    d->bytes = malloc(seals ? SEALED : RECEIVED);
    return d->aead != NULL && d->bytes != NULL && use_secret(d);
}

/* Overwrites what the direction could seal or open with. */
static void forget_keys(struct record_direction *d)
{
    EVP_CIPHER_CTX_reset(d->aead);
    OPENSSL_cleanse(d->secret, sizeof d->secret);
    OPENSSL_cleanse(d->iv, sizeof d->iv);
}

static void close_direction(struct record_direction *d)
{
    forget_keys(d);
    EVP_CIPHER_CTX_free(d->aead);
    free(d->bytes); /* these are sealed */
    d->aead = NULL;
    d->bytes = NULL;
}

/* ---- one record ---- */

/* Begins a record: its nonce is the IV with the record's number in it (5.3), and its header is
   authenticated beside the content (5.2). */
static bool begin_record(struct record_direction *d, const unsigned char *header)
{
    unsigned char nonce[RECORD_IV];
    int size;
    memcpy(nonce, d->iv, sizeof nonce);
    for (int i = 0; i < 8; i++) {
        nonce[RECORD_IV - 1 - i] ^= (unsigned char)(d->records >> 8 * i);
    }
    d->records++;
    return EVP_CipherInit_ex(d->aead, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(d->aead, NULL, &size, header, RECORD_HEADER) == 1;
}

/* Seals or opens some more of a record's content. */
static bool apply_cipher(struct record_direction *d, unsigned char *to, const unsigned char *from,
                         size_t size)
{
    int written;
    return EVP_CipherUpdate(d->aead, to, &written, from, (int)size) == 1;
}

/* Ends a record that is sealed: writes its tag. */
static bool write_tag(struct record_direction *d, unsigned char *tag)
{
    int size;
    return EVP_CipherFinal_ex(d->aead, tag, &size) == 1 &&
           EVP_CIPHER_CTX_ctrl(d->aead, EVP_CTRL_AEAD_GET_TAG, RECORD_TAG, tag) == 1;
}

/* Ends a record that is opened: whether its tag is right. */
static bool verify_tag(struct record_direction *d, unsigned char *tag)
{
    unsigned char none[RECORD_TAG];
    int size;
    return EVP_CIPHER_CTX_ctrl(d->aead, EVP_CTRL_AEAD_SET_TAG, RECORD_TAG, tag) == 1 &&
           EVP_CipherFinal_ex(d->aead, none, &size) == 1;
}

/* Where byte `at` of the vectors lies, and how many follow it there; 0 at their end. */
static size_t span_at(const struct iovec *vectors, size_t count, size_t at, unsigned char **start)
{
    for (size_t i = 0; i < count; i++) {
        if (at < vectors[i].iov_len) {
            *start = (unsigned char *)vectors[i].iov_base + at;
            return vectors[i].iov_len - at;
        }
        at -= vectors[i].iov_len;
    }
    return 0;
}

/* Seals `size` bytes of the vectors, from byte `at` on, as one record behind those in `out`, where
   there is room for it. */
static bool seal_record(struct records *r, unsigned char type, const struct iovec *vectors,
                        size_t count, size_t at, size_t size)
{
    struct record_direction *out = &r->out;
    unsigned char *header = out->bytes + out->to;
    unsigned char *to = header + RECORD_HEADER;
    size_t body = size + RECORD_OVERHEAD;
    header[0] = APPLICATION_DATA;
    header[1] = 3;
    header[2] = 3;
    header[3] = (unsigned char)(body >> 8);
    header[4] = (unsigned char)body;
    if (!begin_record(out, header)) {
        return false;
    }
    for (size_t done = 0; done < size;) {
        unsigned char *from;
        size_t here = smaller(span_at(vectors, count, at + done, &from), size - done);
        if (here == 0 || !apply_cipher(out, to, from, here)) {
            return false;
        }
        to += here;
        done += here;
    }
    if (!apply_cipher(out, to, &type, 1) || !write_tag(out, to + 1)) {
        return false;
    }
    out->to += RECORD_HEADER + body;
    return true;
}

/* Seals an alert or a handshake message. */
static bool seal_message(struct records *r, unsigned char type, const void *message, size_t size)
{
    struct iovec vector = {(void *)message, size};
    return seal_record(r, type, &vector, 1, 0, size);
}

/* ---- sending ---- */

/* Sends what is sealed. 1: all of it; 0: the kernel takes no more now; -1: it never will. */
static int flush(struct records *r, int fd)
{
    struct record_direction *out = &r->out;
    while (out->from < out->to) {
        ssize_t sent = r->calls->send(fd, out->bytes + out->from, out->to - out->from,
                                      MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            out->from += (size_t)sent;
        } else if (sent < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -1;
        }
    }
    out->from = 0;
    out->to = 0;
    return 1;
}

/* Breaks the connection, unless it is broken: nothing is sealed or opened any more. */
static int give_up(struct records *r, int code)
{
    if (r->broken == 0) {
        r->broken = code;
        forget_keys(&r->in);
        forget_keys(&r->out);
        OPENSSL_cleanse(r->unread, sizeof r->unread);
    }
    ERR_clear_error(); /* another connection of this thread looks there, too */
    return fails_with(r->broken);
}

/* Says KeyUpdate and seals with new keys, if the peer has asked for that or the key has served for
   as many records as it may. One answer does for whatever was asked meanwhile (4.6.3). */
static bool update_if_due(struct records *r)
{
    if (!r->update_owed && r->out.records != RECORDS_PER_KEY) {
        return true;
    }
    r->update_owed = false;
    return seal_message(r, HANDSHAKE, key_update, sizeof key_update) && use_next_secret(&r->out);
}

ssize_t records_send(struct records *r, int fd, const struct iovec *vectors, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += vectors[i].iov_len;
    }
    int flushed = r->broken ? -1 : flush(r, fd);
    if (flushed < 0 || r->sealed > total) {
        return give_up(r, ECONNRESET);
    }
    if (flushed == 0) {
        return fails_with(EAGAIN);
    }
    /* Bytes count as sent once the kernel has them. `batch` are those sealed behind them. */
    size_t done = r->sealed;
    size_t batch = 0;
    size_t full = FIRST_BATCH;
    r->sealed = 0;
    while (flushed > 0 && done + batch < total) {
        size_t left = total - done - batch;
        size_t size = smaller(left, RECORD_PLAINTEXT);
        if (!update_if_due(r) ||
            !seal_record(r, APPLICATION_DATA, vectors, count, done + batch, size)) {
            return give_up(r, ECONNRESET);
        }
        batch += size;
        if (r->out.to < full && size < left) {
            continue;
        }
        flushed = flush(r, fd);
        if (flushed < 0) {
            return give_up(r, ECONNRESET);
        }
        if (flushed > 0) {
            done += batch;
            batch = 0;
            full = smaller(2 * full, LARGEST_BATCH);
        }
    }
    r->sealed = batch;
    return done > 0 || total == 0 ? (ssize_t)done : fails_with(EAGAIN);
}

void records_close_notify(struct records *r, int fd)
{
    if (r->broken || r->closed || r->sealed > 0) {
        return;
    }
    r->closed = seal_message(r, ALERT, close_notify, sizeof close_notify);
    (void)flush(r, fd);
}

/* ---- receiving ---- */

/* Whether a header is that of a protected record whose length is allowed (5.2). */
static bool is_header(const unsigned char *header, size_t body)
{
    return header[0] == APPLICATION_DATA && header[1] == 3 && header[2] == 3 &&
           body >= RECORD_OVERHEAD && body <= RECORD_PLAINTEXT + RECORD_OVERHEAD;
}

/* Opens a record's body, `size` bytes of content with type and tag behind: into the vectors from
   byte `at` on, and what does not fit there into `unread`. So are short ones, which may be other
   than data. Nothing of it counts unless this returns true.

   `*direct`: how many bytes went into the vectors. */
static bool open_body(struct records *r, const unsigned char *header, size_t size,
                      const struct iovec *vectors, size_t count, size_t at, size_t *direct,
                      unsigned char *type)
{
    struct record_direction *in = &r->in;
    unsigned char *body = (unsigned char *)header + RECORD_HEADER;
    size_t done = 0;
    if (!begin_record(in, header)) {
        return false;
    }
    while (size > SHORT && done < size) {
        unsigned char *to;
        size_t here = smaller(span_at(vectors, count, at + done, &to), size - done);
        if (here == 0) {
            break;
        }
        if (!apply_cipher(in, to, body + done, here)) {
            return false;
        }
        done += here;
    }
    *direct = done;
    if (done < size && !apply_cipher(in, r->unread, body + done, size - done)) {
        return false;
    }
    return apply_cipher(in, type, body + size, 1) && verify_tag(in, body + size + 1);
}

/* Judges an opened record that is not data: `size` bytes of content in `unread`. */
static enum progress take_message(struct records *r, unsigned char type, size_t size)
{
    const unsigned char *message = r->unread;
    if (type == ALERT && size == sizeof close_notify && memcmp(message, close_notify, size) == 0) {
        return OVER;
    }
    /* The last byte of a KeyUpdate says whether the peer asks for one (4.6.3). */
    bool update = type == HANDSHAKE && size == KEY_UPDATE &&
                  memcmp(message, key_update, KEY_UPDATE - 1) == 0 && message[KEY_UPDATE - 1] <= 1;
    bool empty = type == APPLICATION_DATA;
    if (!update && !empty) {
        return BROKEN; /* padding, too: its last byte is taken for the type (5.4), and nobody pads
                        */
    }
    if (r->allowance == 0) {
        return UNRULY; /* each costs this side more than its sender */
    }
    r->allowance--;
    if (!update) {
        return MORE;
    }
    r->update_owed = r->update_owed || message[KEY_UPDATE - 1] == 1;
    return use_next_secret(&r->in) ? MORE : BROKEN;
}

/* Opens the next record, if all of it was received; `*got` bytes of the vectors are filled. */
static enum progress open_record(struct records *r, const struct iovec *vectors, size_t count,
                                 size_t *got)
{
    struct record_direction *in = &r->in;
    const unsigned char *header = in->bytes + in->from;
    size_t received = in->to - in->from;
    if (received < RECORD_HEADER) {
        return LATER;
    }
    size_t body = (size_t)header[3] << 8 | header[4];
    if (!is_header(header, body)) {
        return BROKEN;
    }
    if (received < RECORD_HEADER + body) {
        return LATER;
    }
    in->from += RECORD_HEADER + body;
    size_t size = body - RECORD_OVERHEAD;
    size_t direct = 0;
    unsigned char type;
    if (!open_body(r, header, size, vectors, count, *got, &direct, &type)) {
        return BROKEN;
    }
    if (type != APPLICATION_DATA || size == 0) {
        /* Of a long one only a part may be in `unread`; none that is long has a meaning. */
        return size <= SHORT ? take_message(r, type, size) : BROKEN;
    }
    r->data_records++;
    if (r->data_records == DATA_RECORDS_PER_ALLOWANCE) {
        r->data_records = 0;
        r->allowance += r->allowance < RECORD_ALLOWANCE;
    }
    *got += direct;
    r->unread_from = 0;
    r->unread_to = size - direct;
    return MORE;
}

/* Receives what the kernel has. That it is less than there was room for says nothing: the
   connection's end may follow, of which epoll has told already. */
static enum progress refill(struct records *r, int fd)
{
    struct record_direction *in = &r->in;
    ssize_t received;
    memmove(in->bytes, in->bytes + in->from, in->to - in->from);
    in->to -= in->from;
    in->from = 0;
    do {
        received = r->calls->receive(fd, in->bytes + in->to, RECEIVED - in->to, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received > 0) {
        in->to += (size_t)received;
        return MORE;
    }
    return received < 0 && errno == EAGAIN ? LATER : BROKEN;
}

/* Breaks the connection because of what came, and tells the peer (6.2) if what is sealed already
   does not wait for the caller. */
static void refuse_peer(struct records *r, int fd, bool unruly)
{
    if (r->sealed == 0) {
        const unsigned char *alert = unruly ? unexpected_message : bad_record_mac;
        if (seal_message(r, ALERT, alert, sizeof bad_record_mac)) {
            (void)flush(r, fd);
        }
    }
    r->unruly = unruly;
    give_up(r, unruly ? EPROTO : ECONNRESET);
}

ssize_t records_receive(struct records *r, int fd, const struct iovec *vectors, size_t count)
{
    enum progress now = MORE;
    size_t got = 0;
    size_t room;
    unsigned char *to;
    int opened = 0;
    if (r->broken) {
        return give_up(r, ECONNRESET);
    }
    while (now == MORE && (room = span_at(vectors, count, got, &to)) > 0) {
        size_t unread = r->unread_to - r->unread_from;
        if (unread > 0) {
            size_t here = smaller(room, unread);
            memcpy(to, r->unread + r->unread_from, here);
            r->unread_from += here;
            got += here;
        } else if (r->ended) {
            now = OVER;
        } else if (opened == RECORDS_PER_CALL) {
            break;
        } else {
            now = open_record(r, vectors, count, &got);
            opened += now != LATER;
            if (now == LATER && got == 0) {
                now = refill(r, fd);
            }
        }
    }
    r->ended = r->ended || now == OVER;
    if (now < LATER) {
        refuse_peer(r, fd, now == UNRULY);
    }
    if (got > 0) {
        return (ssize_t)got; /* also what came before the connection broke */
    }
    if (now < LATER) {
        return fails_with(r->broken);
    }
    return now == LATER ? fails_with(EAGAIN) : 0;
}

/* ---- a connection ---- */

void records_initialize(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
}

bool records_open(struct records *r, const struct record_calls *calls, const unsigned char *sending,
                  const unsigned char *receiving)
{
    r->calls = calls;
    r->allowance = RECORD_ALLOWANCE;
    return open_direction(&r->out, sending, true) && open_direction(&r->in, receiving, false);
}

void records_close(struct records *r)
{
    close_direction(&r->in);
    close_direction(&r->out);
    OPENSSL_cleanse(r->unread, sizeof r->unread);
}
