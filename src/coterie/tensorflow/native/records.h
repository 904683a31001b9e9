/* The record layer of TLS 1.3 with TLS_AES_128_GCM_SHA256 (RFC 8446, section 5), over a connected
   socket whose handshake was done elsewhere.

   It seals from where the caller's bytes lie and opens to where they go, by OpenSSL's AES-GCM. It
   holds no lock, starts no thread and never blocks: calls on the kernel are made with MSG_DONTWAIT.
   Functions on one `struct records` are called by one thread at a time. It allocates memory in
   `records_open` only, and one call opens a bounded number of records.

   Once a connection is broken it stays so: the secrets are overwritten, and every further call
   fails with the same error. */
#ifndef COTERIE_RECORDS_H
#define COTERIE_RECORDS_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Tests set these lower. */
#ifndef RECORDS_PER_KEY
/* AES-GCM bears 2^24.5 full records under one key (RFC 8446, 5.5). */
#define RECORDS_PER_KEY (1u << 23)
/* So many records with data allow the peer one more without. */
#define DATA_RECORDS_PER_ALLOWANCE 4096
/* So many records are opened by one call at most: others wait for the connection. */
#define RECORDS_PER_CALL 1024
#endif

enum {
    RECORD_SECRET = 32,               /* bytes of a traffic secret: those of SHA-256 (7.1) */
    RECORD_KEY = 16,                  /* bytes of an AES-128 key */
    RECORD_IV = 12,                   /* bytes of a nonce (5.3) */
    RECORD_HEADER = 5,                /* type, version, length */
    RECORD_PLAINTEXT = 16384,         /* bytes that a record holds at most (5.1) */
    RECORD_TAG = 16,                  /* bytes of AES-GCM's tag */
    RECORD_OVERHEAD = 1 + RECORD_TAG, /* the content's type, and the tag */
    RECORD_ALLOWANCE = 16, /* records without data that a peer may send ahead of any with */
};

/* How the kernel is called: as `send` and `recv` of libc. */
struct record_calls {
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*receive)(int, void *, size_t, int);
};

/* One direction of a connection. */
struct record_direction {
    EVP_CIPHER_CTX *aead;
    unsigned char secret[RECORD_SECRET];
    unsigned char iv[RECORD_IV];
    uint64_t records; /* sealed or opened under this key: the next one's sequence number */
    bool seals;       /* and not opens */
    /* Sealed records. What was received may end in a part of one. */
    unsigned char *bytes;
    size_t from, to; /* those that have not been opened or sent yet */
};

/* A connection's state. It is zeroes before `records_open`. */
struct records {
    const struct record_calls *calls;
    struct record_direction in, out;
    int broken;            /* the error (errno) of every call from now on; 0: none */
    bool unruly;           /* it was broken because the peer sent too many records without data */
    bool ended;            /* the peer has said close_notify */
    bool closed;           /* this side has */
    bool update_owed;      /* the peer has asked for new keys of this side (4.6.3) */
    unsigned allowance;    /* how many records without data may still come */
    unsigned data_records; /* how many came with some since the allowance last grew */
    size_t sealed;         /* bytes that lie sealed in `out`, for the caller to present again */
    size_t unread_from, unread_to;
    unsigned char unread[RECORD_PLAINTEXT]; /* opened, and not read yet; the last member */
};

/* Obeys no configuration file of the host, and lets OpenSSL outlive the process's other threads.
   Called once, before anything else here. */
void records_initialize(void);

/* Begins a connection with the traffic secrets of both directions; RECORD_SECRET bytes each (7.1).

   Returns whether there was memory; `records_close` is due in any case. */
bool records_open(struct records *r, const struct record_calls *calls, const unsigned char *sending,
                  const unsigned char *receiving);

/* Returns the memory that the connection has beside its `struct records`, and overwrites secrets.
 */
void records_close(struct records *r);

/* Seals what the vectors hold and sends it, as `sendmsg` does.

   Returns how many bytes the kernel has taken; or -1 and errno. With EAGAIN the caller presents at
   least as many bytes again, beginning with those that were not taken: they may be sealed already.
 */
ssize_t records_send(struct records *r, int fd, const struct iovec *vectors, size_t count);

/* Receives and opens records into the vectors, as `recvmsg` does.

   Returns how many bytes; 0 after the peer's close_notify; or -1 and errno: EAGAIN if nothing is
   there, ECONNRESET if the connection is broken, EPROTO if it was broken because the peer sent too
   many records without data. What the vectors hold beyond the bytes returned has no meaning. */
ssize_t records_receive(struct records *r, int fd, const struct iovec *vectors, size_t count);

/* Says close_notify (6.1), unless it is said already, sealed bytes wait, or nothing can be sealed.
 */
void records_close_notify(struct records *r, int fd);

#endif
