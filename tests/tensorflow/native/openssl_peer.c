/* OpenSSL as the peer, after its own handshake. Part of harness.c. */
#include "harness.h"

static void note_secret(const SSL *ssl, const char *line)
{
    struct secrets *of = SSL_get_app_data(ssl);
    bool client = !strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24),
         server = !strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24);
    size_t len = 0;
    if (!client && !server) {
        return;
    }
    CHECK(OPENSSL_hexstr2buf_ex(client ? of->client : of->server, RECORD_SECRET, &len,
                                strrchr(line, ' ') + 1, '\0') &&
          len == RECORD_SECRET);
}

static SSL_CTX *context(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    CHECK(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ctx, 0));
    CHECK(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256"));
    SSL_CTX_set_keylog_callback(ctx, note_secret);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

/* A connection without a relay whose other end is OpenSSL's: TensorFlow has accepted one, `*other`
 * is the test's. */
static int meet(SSL_CTX *ctx, int listener, uint64_t incarnation, SSL **other)
{
    uint64_t random = 1;
    int ends[2], accepted;
    struct secrets secrets[2];
    SSL *ssl[2];
    pair(ends, &random);
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        CHECK((ssl[i] = SSL_new(ctx)) && SSL_set_fd(ssl[i], ends[i]) &&
              SSL_set_app_data(ssl[i], &secrets[i]));
        i ? SSL_set_accept_state(ssl[i]) : SSL_set_connect_state(ssl[i]);
    }
    for (int done[2] = {-1, -1}; done[0] != 1 || done[1] != 1;) {
        for (int i = 0; i < 2; i++) {
            CHECK((done[i] = SSL_do_handshake(ssl[i])) == 1 ||
                  SSL_get_error(ssl[i], done[i]) == SSL_ERROR_WANT_READ);
        }
    }
    CHECK(!memcmp(&secrets[0], &secrets[1], sizeof *secrets));
    SSL_free(ssl[1]);
    CHECK(!coterie_hand_over(ends[1], -1, 9, incarnation, 0, secrets[1].server, secrets[1].client));
    CHECK((accepted = wrapped_accept4(listener, NULL, NULL, 0)) >= 0);
    *other = ssl[0];
    return accepted;
}

static void part(SSL *other)
{
    int fd = SSL_get_fd(other);
    SSL_free(other);
    close(fd);
}

static void tell(SSL *other, const char *text)
{
    CHECK(SSL_write(other, text, (int)strlen(text)) == (int)strlen(text));
}

/* A peer that is killed: its last words and its end come together, in one event of an
 * edge-triggered epoll. */
static void last_words(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), all = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    CHECK(!epoll_ctl(all, EPOLL_CTL_ADD, fd, &event));
    tell(other, "words");
    part(other);
    CHECK(wait_for(fd, POLLRDHUP) && epoll_wait(all, &event, 1, 5000) == 1 && hear(fd) == 5);
    CHECK(hear(fd) == -1 && errno == ECONNRESET); /* gRPC reads on until EAGAIN or the end */
    wrapped_close(fd);
    close(all);
}

/* An orderly end is one, however often it is asked for; without close_notify it is none. */
static void ends(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    tell(other, "words");
    CHECK(SSL_shutdown(other) == 0 && wait_for(fd, POLLIN) && hear(fd) == 5 && hear(fd) == 0 &&
          hear(fd) == 0);
    wrapped_close(fd);
    CHECK(SSL_shutdown(other) == 1);
    part(other);
}

/* A connection that breaks takes no other one with it, even in the same thread, and says so to its
 * peer. */
static void breaks_alone(SSL_CTX *ctx, int listener)
{
    SSL *bad, *good;
    unsigned char got[9];
    int a = meet(ctx, listener, 5, &bad), b = meet(ctx, listener, 5, &good);
    tell(bad, "x");
    CHECK(send(SSL_get_fd(bad), "\x17\x03\x03\0\x20 no record at all, but long enough", 37, 0) ==
          37);
    for (int waiting = 0; waiting < 60; ioctl(a, FIONREAD, &waiting)) {
        usleep(100);
    }
    CHECK(hear(a) == 1 && hear(b) == -1 && errno == EAGAIN);
    tell(good, "x");
    CHECK(wait_for(b, POLLIN) && hear(b) == 1 && hear(a) == -1 && errno == ECONNRESET);
    CHECK(wait_for(SSL_get_fd(bad), POLLIN) && SSL_read(bad, got, sizeof got) <= 0);
    CHECK(ERR_GET_REASON(ERR_get_error()) == SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    wrapped_close(a);
    wrapped_close(b);
    part(bad);
    part(good);
}

/* Records that are none of this protocol's, in good TLS or not: each breaks its connection, and
 * gives no byte. */
static void odd_records(SSL_CTX *ctx, int listener)
{
    static const char plain[] = "\x16\x03\x03\0\x05hello",
                      old[] = "\x17\x03\x01\0\x20"
                              "12345678901234567890123456789012",
                      empty[] = "\x17\x03\x03\0\0",
                      tiny[] = "\x17\x03\x03\0\x10"
                               "1234567890123456",
                      huge[] = "\x17\x03\x03\x40\x12";

    static const struct {
        const char *bytes;
        size_t len;
    } raw[] = {{plain, 10}, {old, 37}, {empty, 5}, {tiny, 21}, {huge, 5}};

    SSL *other;
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        int fd = meet(ctx, listener, 5, &other);
        CHECK(send(SSL_get_fd(other), raw[i].bytes, raw[i].len, 0) == (ssize_t)raw[i].len &&
              wait_for(fd, POLLIN));
        CHECK(hear(fd) == -1 && errno == ECONNRESET && hear(fd) == -1 && errno == ECONNRESET);
        wrapped_close(fd);
        part(other);
    }
    int fd = meet(ctx, listener, 5, &other);
    CHECK(SSL_set_block_padding(
        other, 256)); /* this implementation pads nothing, and takes nothing padded */
    tell(other, "words");
    CHECK(wait_for(fd, POLLIN) && hear(fd) == -1 && errno == ECONNRESET);
    wrapped_close(fd);
    part(other);
}

/* What the kernel is told of the memory in which secrets are, and what is left there when the
 * connection has broken. */
static void secrets_in_memory(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), told = 0;
    struct link *l = atomic_load(&table[fd]);
    char line[512];
    FILE *maps = fopen("/proc/self/smaps", "r");
    for (unsigned long from, to, in = 0; fgets(line, sizeof line, maps);) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            in = from <= (uintptr_t)l && (uintptr_t)(l + 1) == to;
        } else if (in && !strncmp(line, "VmFlags:", 8)) {
            told = strstr(line, " dd") && strstr(line, " wf"); /* the last byte is the mapping's */
        }
    }
    fclose(maps);
    CHECK(told && !zeroes(l->records.in.secret, RECORD_SECRET) &&
          !zeroes(l->records.out.secret, RECORD_SECRET));
    char many[200]; /* more than `hear` asks for */
    memset(many, 'x', sizeof many);
    CHECK(SSL_write(other, many, sizeof many) == sizeof many && wait_for(fd, POLLIN) &&
          hear(fd) == 100);
    CHECK(!zeroes(l->records.unread, sizeof l->records.unread));
    CHECK(hear(fd) == 100 && send(SSL_get_fd(other), "\x16\x03\x03\0\x05hello", 10, 0) == 10 &&
          wait_for(fd, POLLIN));
    CHECK(hear(fd) == -1 && errno == ECONNRESET);
    CHECK(zeroes(l->records.in.secret, RECORD_SECRET) &&
          zeroes(l->records.out.secret, RECORD_SECRET) && zeroes(l->records.in.iv, 12) &&
          zeroes(l->records.out.iv, 12));
    CHECK(zeroes(l->records.unread, sizeof l->records.unread) &&
          !EVP_CIPHER_CTX_get0_cipher(l->records.in.aead) &&
          !EVP_CIPHER_CTX_get0_cipher(l->records.out.aead));
    wrapped_close(fd);
    part(other);
}

static int updates;

static void count_updates(int written, int version, int type, const void *of, size_t len, SSL *ssl,
                          void *unused)
{
    (void)version;
    (void)ssl;
    (void)unused;
    if (!written && type == SSL3_RT_HANDSHAKE && len &&
        *(const unsigned char *)of == SSL3_MT_KEY_UPDATE) {
        updates++;
    }
}

/* AES-GCM bears a number of records under one key only, and connections live long. */
static void fresh_keys(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    unsigned char got[9];
    struct iovec v = {"words", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    SSL_set_msg_callback(other, count_updates);
    for (int i = 1; i <= 3 * RECORDS_PER_KEY + 1; i++) {
        CHECK(wrapped_sendmsg(fd, &m, 0) == 5 && wait_for(SSL_get_fd(other), POLLIN) &&
              SSL_read(other, got, sizeof got) == 5);
        CHECK(updates == (i - 1) / RECORDS_PER_KEY);
        CHECK(i % 2 || SSL_key_update(other, SSL_KEY_UPDATE_NOT_REQUESTED)); /* and the other way */
        tell(other, "words");
        ssize_t heard;
        while ((heard = hear(fd)) == -1 && errno == EAGAIN) {
            CHECK(wait_for(fd, POLLIN)); /* the update comes by itself */
        }
        CHECK(heard == 5);
    }
    wrapped_close(fd);
    part(other);
}

static void change_keys(SSL *other, int how)
{
    CHECK(SSL_key_update(other, how) && SSL_do_handshake(other) == 1);
}

/* Who asks for new keys gets them before the next data, once, however often it has asked (RFC
 * 8446, 4.6.3). */
static void answers(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    unsigned char got[9];
    struct iovec v = {"words", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    SSL_set_msg_callback(other, count_updates);
    updates = 0;
    for (int i = 0; i < 3; i++) {
        change_keys(other, SSL_KEY_UPDATE_REQUESTED);
    }
    tell(other, "words");
    while (hear(fd) != 5) {
        CHECK(errno == EAGAIN && wait_for(fd, POLLIN));
    }
    for (int i = 1; i <= RECORDS_PER_KEY + 1; i++) {
        CHECK(wrapped_sendmsg(fd, &m, 0) == 5 && wait_for(SSL_get_fd(other), POLLIN) &&
              SSL_read(other, got, sizeof got) == 5);
        CHECK(updates ==
              1 + (i > RECORDS_PER_KEY)); /* its own turn comes after as many records as ever */
    }
    wrapped_close(fd);
    part(other);
}

/* Asked while what was sealed waits for room: that goes first, and nothing is lost or sealed twice.
 */
static void answers_when_there_is_room(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), sent = 0, got = 0;
    static unsigned char all[3000000], back[sizeof all];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = byte_at(3, i);
    }
    SSL_set_msg_callback(other, count_updates);
    updates = 0;
    for (bool asked = false; got < (int)sizeof all;) {
        struct iovec v = {all + sent, sizeof all - (size_t)sent};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        ssize_t n = v.iov_len ? wrapped_sendmsg(fd, &m, 0) : 0;
        CHECK(n >= 0 || errno == EAGAIN);
        sent += n > 0 ? (int)n : 0;
        if (n < 0 && !asked) { /* the kernel is full */
            CHECK(atomic_load(&table[fd])->records.sealed);
            asked = true;
            change_keys(other, SSL_KEY_UPDATE_REQUESTED);
            tell(other, "x");
            while (hear(fd) != 1) {
                CHECK(errno == EAGAIN && wait_for(fd, POLLIN));
            }
            CHECK(atomic_load(&table[fd])->records.update_owed);
        }
        for (int here; (here = SSL_read(other, back + got, (int)sizeof back - got)) > 0;) {
            got += here;
        }
    }
    CHECK(sent == got && !memcmp(all, back, sizeof all) &&
          !atomic_load(&table[fd])->records.update_owed && updates > 1);
    wrapped_close(fd);
    part(other);
}

/* Incarnations are the peers' numbers: 0 is one, too. */
static void cuts(SSL_CTX *ctx, int listener)
{
    for (uint64_t incarnation = 0; incarnation < 2; incarnation++) {
        SSL *other;
        int fd = meet(ctx, listener, incarnation, &other);
        coterie_cut(8, 0);
        coterie_cut(9, incarnation ? 1 : 7);
        CHECK((hear(fd) == -1 && errno == EAGAIN) == (incarnation == 1));
        coterie_cut(9, 0);
        CHECK(hear(fd) == -1 && errno == ECONNRESET);
        wrapped_close(fd);
        part(other);
    }
}

/* Descriptors that are closed by other calls, close_range() for one: who gets the number next is no
 * older connection. */
static void closed_otherwise(SSL_CTX *ctx, int listener)
{
    SSL *other;
    static const unsigned char secret[RECORD_SECRET] = {1};
    int fd = meet(ctx, listener, 5, &other), links = coterie_count(-1, 0), ends[2];
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends) && dup2(ends[0], fd) == fd &&
          !close(ends[0])); /* which closes it first */
    CHECK(!coterie_hand_over(fd, -1, 8, 5, 1, secret, secret) && coterie_count(-1, 0) == links);
    coterie_cut(9, 0);
    CHECK(coterie_count(8, 0) == 1 && !close(ends[1]) && coterie_count(8, 0) == 0 &&
          coterie_count(-1, 0) == links - 1);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    part(other);
}
