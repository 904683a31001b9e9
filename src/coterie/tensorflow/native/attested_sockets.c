/* TLS 1.3 inside the socket calls of TensorFlow's gRPC.
   The library stands in front of libc (LD_PRELOAD). TensorFlow, told apart from other callers by the file that the return
   address lies in, may make TCP sockets only, connect them only to virtual addresses (multicast, RFC 2365: no kernel opens
   a TCP connection to one, so without this library nothing leaves) and bind only its own virtual port. Whatever else is
   done with such a descriptor is an error, never plaintext. Connections are made, shaken hands on and judged by Python,
   then handed over with their traffic secrets: PARKED for TensorFlow to dial with, or QUEUED for it to accept. From then on
   what it sends and receives are records of TLS 1.3, sealed and opened by OpenSSL's AES-GCM. There is no policy here, no
   handshake, no callback into Python, no thread, no file, no environment. A descriptor is RAW, a socket that TensorFlow has
   made; PORT, the one that it listens on (an eventfd, readable while a connection waits); or LINK, a TLS connection. `board`
   guards table, lists and counts, a link's `lock` its TLS state; whoever needs both takes the link's first. A child process
   has no part in any of it: its copies of descriptors are dead, its copies of secrets zeroes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef INTERPOSED /* the sanitizers' harness gives the calls other names */
#define INTERPOSED(name) name
#define FRESH_KEY (1u << 23) /* records; AES-GCM bears 2^24.5 of them under one key (RFC 8446, 5.5) */
#define EARNS_ONE 4096       /* records with data, after which the peer may send one more without */
#define ONE_CALL 1024        /* records that one call opens at most */
#endif
#define VIRTUAL 0xef430000u /* 239.67.0.0: node i is 239.67.(i / 256).(i % 256) */
enum { VIRTUAL_PORT = 2222, MAX_NODES = 1025, MAX_FD = 65536 };
enum { SPARE = 16 }; /* records without data that a peer may send ahead of any with */
enum { SECRET = 32, HEAD = 5, RECORD = 16384, TAG = 16, OVERHEAD = 1 + TAG, SHORT = 64, ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23 };
enum { IN = 262144, OUT = 524288, OUT_FIRST = 65536, OUT_FULL = OUT - 18432 }; /* room for one more sealed record, and a key update */
enum progress { UNRULY = -2, BROKEN, LATER, MORE, OVER };
static const char goodbye[] = {1, 0}, unexpected[] = {2, 10}, bad_record[] = {2, 20}, key_update[] = {24, 0, 0, 1, 0}; /* 6.1, 6.2, 4.6.3 */

struct way { /* one direction of a connection; `bytes` are sealed records, complete but for those from the kernel */
  EVP_CIPHER_CTX *aead;
  unsigned char secret[SECRET], iv[12], *bytes;
  size_t from, to;
  uint64_t records; /* under this key: the sequence number */
  int seals;
};
struct link {
  enum { RAW, PORT, LINK } kind;
  enum { HELD, PARKED, DIALLED, QUEUED, ACCEPTED } place; /* parked to dial with; queued to accept */
  int fd, node, refs; /* refs: guarded by board */
  uint64_t incarnation;
  pthread_mutex_t lock;
  int broken; /* the error of every call from now on */
  bool bound, used, over, closing, owes; /* owes: the peer has asked for new keys of this side, too */
  struct way in, out;
  unsigned spare, paid; /* how many records without data may come, and how many came with some since one was earned */
  size_t rest_from, rest_to, sealed; /* sealed: plaintext in `out`, for the caller to present again */
  struct link *older;
  unsigned char rest[RECORD]; /* opened, and not read yet */
};
static pthread_mutex_t board = PTHREAD_MUTEX_INITIALIZER;
static struct link *_Atomic table[MAX_FD];
static struct link *newest, *port;
static int live, owner, own_node, bell = -1, unruly[MAX_NODES]; /* owner: this process */
static bool forked; /* so this is another one */
static char folder[1024];
static atomic_bool armed;
#define CALLS(X)                                                                                          \
  X(socket) X(connect) X(bind) X(listen) X(accept) X(accept4) X(getsockname) X(getpeername) X(setsockopt) \
  X(shutdown) X(close) X(fcntl) X(fcntl64) X(dup) X(dup2) X(dup3) X(getaddrinfo) X(sendmsg) X(recvmsg)    \
  X(sendmmsg) X(recvmmsg) X(read) X(write) X(readv) X(writev) X(recv) X(send) X(recvfrom) X(sendto)       \
  X(sendfile) X(sendfile64) X(splice)
#define DECLARE(name) static __typeof__(name) *real_##name;
#define FIND(name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name);
CALLS(DECLARE)
static void resolve(void) { CALLS(FIND) }
#define CALL(name, ...) ((real_##name ? (void)0 : resolve()), real_##name(__VA_ARGS__)) /* others' constructors may come first */
_Static_assert(SPARE < ONE_CALL, "a call that opens as many as it may has met data");
static int refuse(int code) { return errno = code, -1; }

/* ---- descriptors ---- */
static bool is_tensorflow(void *caller) {
  Dl_info info;
  return atomic_load(&armed) && (!*folder || (dladdr(caller, &info) && info.dli_fname && !strncmp(info.dli_fname, folder, strlen(folder))));
}
#define TENSORFLOW is_tensorflow(__builtin_return_address(0))
static bool known(int fd) { return fd >= 0 && fd < MAX_FD && atomic_load(&table[fd]); }
/* Its memory may be the parent's (vfork), and the board locked for ever (a bare clone): it reads the table, and touches nothing. */
static bool is_child(void) { return forked || getpid() != owner; }
static struct link *take(int fd) {
  struct link *l = NULL;
  pthread_mutex_lock(&board);
  if ((l = atomic_load(&table[fd]))) l->refs++;
  pthread_mutex_unlock(&board);
  return l;
}
/* Memory for secrets: in no core dump, in no swap if this user may lock so much, zeroes in a child; who writes beyond its end faults. */
static void *keep(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
  unsigned char *at = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  (void)!madvise(at, room, MADV_DONTDUMP), (void)!madvise(at, room, MADV_WIPEONFORK), (void)!mlock(at, room);
  (void)!mprotect(at + room, page, PROT_NONE); /* the library OS of an enclave may lack any of these */
  return at + room - size;
}
static void wipe(void *kept, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
  OPENSSL_cleanse(kept, size), munmap((unsigned char *)kept + size - room, room + page);
}
static void give(struct link *l) {
  pthread_mutex_lock(&board);
  struct link **at = &newest;
  bool last = --l->refs == 0;
  while (last && *at != l) at = &(*at)->older;
  if (last) *at = l->older, live--;
  pthread_mutex_unlock(&board);
  if (!last) return;
  EVP_CIPHER_CTX_free(l->in.aead), EVP_CIPHER_CTX_free(l->out.aead), free(l->in.bytes), free(l->out.bytes); /* those are sealed */
  pthread_mutex_destroy(&l->lock), wipe(l, sizeof *l);
}
/* Who calls it has the board, and the table's reference from now on. */
static int drop(struct link *l) {
  int fd = l->fd;
  l->fd = -1, l->place = HELD, atomic_store(&table[fd], NULL);
  return CALL(close, fd);
}
static struct link *make(int kind, int fd) {
  struct link *stale, *l = fd < 0 || fd >= MAX_FD || is_child() ? NULL : keep(sizeof *l);
  if (!l) return NULL;
  l->kind = kind, l->fd = fd, l->refs = 1, l->spare = SPARE, pthread_mutex_init(&l->lock, NULL);
  pthread_mutex_lock(&board);
  if ((stale = atomic_load(&table[fd]))) stale->fd = -1, stale->place = HELD, port = stale == port ? NULL : port;
  atomic_store(&table[fd], l), l->older = newest, newest = l, live++;
  pthread_mutex_unlock(&board);
  if (stale) give(stale); /* its descriptor was closed by a call that does not come here */
  return l;
}
/* fork() finds the board in order, and leaves the child a dead descriptor for each of the layer's. */
static void before_fork(void) { pthread_mutex_lock(&board); }
static void after_fork(void) { pthread_mutex_unlock(&board); }
static void in_child(void) {
  int dead = newest ? open("/", O_PATH | O_CLOEXEC) : -1; /* every call on it is EBADF, also one that passes this library by */
  for (int fd = 0; newest && fd < MAX_FD; fd++) {
    if (!known(fd)) continue;
    if (CALL(dup3, dead, fd, O_CLOEXEC) < 0) CALL(close, fd);
    atomic_store(&table[fd], NULL);
  }
  if (dead >= 0) CALL(close, dead);
  forked = true, newest = port = NULL, live = 0;
  pthread_mutex_unlock(&board);
}
/* OpenSSL obeys no openssl.cnf of the host, and does not end before TensorFlow's threads do. */
__attribute__((constructor)) static void begin(void) {
  resolve(), OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
  pthread_atfork(before_fork, after_fork, in_child);
}
/* The IPv4 address, also a mapped one; anything else is 0xffffffff. The port lies at one place in both. */
static uint32_t ipv4(const struct sockaddr *a, socklen_t len) {
  const struct sockaddr_in *v4 = (const void *)a;
  const struct sockaddr_in6 *v6 = (const void *)a;
  if (len < sizeof *v4 || v4->sin_port != htons(VIRTUAL_PORT)) return ~0u;
  if (a->sa_family == AF_INET) return ntohl(v4->sin_addr.s_addr);
  if (a->sa_family != AF_INET6 || len < sizeof *v6) return ~0u;
  return IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ? 0 : IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) ? ntohl(v6->sin6_addr.s6_addr32[3]) : ~0u;
}
static int tell_address(int node, struct sockaddr *a, socklen_t *len) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(VIRTUAL_PORT), .sin_addr.s_addr = htonl(VIRTUAL | (uint32_t)node)};
  if (a && len) memcpy(a, &v4, *len < sizeof v4 ? *len : sizeof v4), *len = sizeof v4;
  return 0;
}

/* ---- records of TLS 1.3 (RFC 8446, 5.2): AES-128-GCM from where the caller's bytes lie to where they go ---- */
/* What HKDF-Expand-Label gives for SHA-256 (RFC 8446, 7.1). */
static bool expand(const unsigned char *secret, const char *label, unsigned char *to, size_t len) {
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
  EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  OSSL_PARAM given[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode), OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, SECRET),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)), OSSL_PARAM_construct_end()};
  bool good = ctx && EVP_KDF_derive(ctx, to, len, given) == 1;
  return EVP_KDF_CTX_free(ctx), EVP_KDF_free(kdf), good;
}
/* Key and IV of a secret (7.3); or, with `next`, of the one that follows it (7.2). */
static bool use_secret(struct way *w, bool next) {
  unsigned char key[16], following[SECRET];
  bool good = !next || (expand(w->secret, "traffic upd", following, SECRET) && memcpy(w->secret, following, SECRET));
  good = good && expand(w->secret, "key", key, sizeof key) && expand(w->secret, "iv", w->iv, sizeof w->iv) &&
         EVP_CipherInit_ex(w->aead, EVP_aes_128_gcm(), NULL, key, NULL, w->seals) == 1;
  OPENSSL_cleanse(key, sizeof key), OPENSSL_cleanse(following, sizeof following);
  return w->records = 0, good;
}
static bool open_way(struct way *w, const unsigned char *secret) {
  memcpy(w->secret, secret, SECRET);
  return (w->aead = EVP_CIPHER_CTX_new()) && (w->bytes = malloc(w->seals ? OUT : IN)) && use_secret(w, false);
}
static bool cipher(struct way *w, unsigned char *to, const unsigned char *from, size_t len) {
  int n;
  return EVP_CipherUpdate(w->aead, to, &n, from, (int)len) == 1;
}
/* The nonce is the IV with the record's number in it (5.3); what is authenticated beside the body is its head. */
static bool begin_record(struct way *w, const unsigned char *head) {
  unsigned char nonce[sizeof w->iv];
  uint64_t number = w->records++;
  for (int i = 0; i < 12; i++) nonce[i] = (unsigned char)(w->iv[i] ^ (i < 4 ? 0 : number >> 8 * (11 - i)));
  return EVP_CipherInit_ex(w->aead, NULL, NULL, NULL, nonce, -1) == 1 && cipher(w, NULL, head, HEAD);
}
static bool end_record(struct way *w, unsigned char *tag) { /* makes the tag, or verifies it */
  int n;
  bool good = (w->seals || EVP_CIPHER_CTX_ctrl(w->aead, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1) && EVP_CipherFinal_ex(w->aead, tag, &n) == 1;
  return good && (!w->seals || EVP_CIPHER_CTX_ctrl(w->aead, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1);
}
/* Where byte `at` of the caller's buffers lies, and how many follow it there; 0 at their end. */
static size_t place(const struct msghdr *m, size_t at, unsigned char **is) {
  for (size_t i = 0; i < m->msg_iovlen; at -= m->msg_iov[i++].iov_len)
    if (at < m->msg_iov[i].iov_len) return *is = (unsigned char *)m->msg_iov[i].iov_base + at, m->msg_iov[i].iov_len - at;
  return 0;
}
/* Seals `len` bytes of what the caller presents, from byte `at` on, as one record into `out`, which has room for it. */
static bool seal_record(struct link *l, unsigned char type, const struct msghdr *m, size_t at, size_t len) {
  struct way *w = &l->out;
  size_t body = len + OVERHEAD;
  unsigned char *to = w->bytes + w->to, head[HEAD] = {APPLICATION_DATA, 3, 3, (unsigned char)(body >> 8), (unsigned char)body}, *from;
  bool good = begin_record(w, head);
  memcpy(to, head, HEAD), to += HEAD;
  for (size_t here; good && len; at += here, len -= here, to += here) {
    if ((here = place(m, at, &from)) > len) here = len;
    good = here && cipher(w, to, from, here);
  }
  good = good && cipher(w, to, &type, 1) && end_record(w, to + 1);
  return w->to += good ? HEAD + body : 0, good;
}
static bool say(struct link *l, unsigned char type, const char *what, size_t len) {
  struct iovec v = {(void *)what, len};
  return seal_record(l, type, &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, 0, len);
}
/* 1: all is sent; 0: the kernel takes no more now; -1: the connection is broken. */
static int flush(struct link *l) {
  struct way *w = &l->out;
  for (ssize_t n; w->from < w->to; w->from += n > 0 ? (size_t)n : 0) {
    n = CALL(send, l->fd, w->bytes + w->from, w->to - w->from, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return errno == EAGAIN ? 0 : -1;
  }
  return w->from = w->to = 0, 1;
}
static void forget(struct way *w) { EVP_CIPHER_CTX_reset(w->aead), OPENSSL_cleanse(w->secret, SECRET), OPENSSL_cleanse(w->iv, sizeof w->iv); }
/* The connection is over: nothing is sealed or opened any more. */
static int give_up(struct link *l, int code) {
  if (!l->broken) l->broken = code, forget(&l->in), forget(&l->out), OPENSSL_cleanse(l->rest, sizeof l->rest);
  return ERR_clear_error(), refuse(l->broken);
}
/* Bytes count as sent once the kernel has them: what was sealed and does not fit is presented again. */
static ssize_t seal(struct link *l, const struct msghdr *m) {
  size_t total = 0, done, batch = 0, full = OUT_FIRST; /* soon the peer has something to do; then few calls */
  if (m->msg_controllen || m->msg_namelen) return refuse(EOPNOTSUPP);
  for (size_t i = 0; i < m->msg_iovlen; i++) total += m->msg_iov[i].iov_len;
  int sent = l->broken ? -1 : flush(l);
  if (sent < 0 || l->sealed > total) return give_up(l, ECONNRESET);
  if (!sent) return refuse(EAGAIN);
  done = l->sealed, l->sealed = 0;
  while (sent && done + batch < total) {
    size_t left = total - done - batch, len = left < RECORD ? left : RECORD;
    bool fresh = l->owes || l->out.records == FRESH_KEY; /* whatever was asked meanwhile, one answer before the next data will do (4.6.3) */
    if (fresh && !(say(l, HANDSHAKE, key_update, sizeof key_update) && use_secret(&l->out, true))) return give_up(l, ECONNRESET);
    l->owes = false;
    if (!seal_record(l, APPLICATION_DATA, m, done + batch, len)) return give_up(l, ECONNRESET);
    batch += len;
    if (l->out.to < full && len < left) continue;
    if ((sent = flush(l)) < 0) return give_up(l, ECONNRESET);
    if (sent) done += batch, batch = 0, full = 2 * full < OUT_FULL ? 2 * full : OUT_FULL;
  }
  l->sealed = batch;
  return done || !total ? (ssize_t)done : refuse(EAGAIN);
}
/* Opens one record from `in`: into the caller's buffers from byte `*got` on, what does not fit into `rest`. Nothing
   of it counts before its tag is verified. What could be other than data is short, and goes to `rest` first. */
static enum progress open_record(struct link *l, const struct msghdr *m, size_t *got) {
  struct way *w = &l->in;
  unsigned char *head = w->bytes + w->from, *from = head + HEAD, *to, type;
  size_t have = w->to - w->from, body = have < HEAD ? 0 : (size_t)head[3] << 8 | head[4], direct = 0, here;
  bool odd = have >= HEAD && (head[0] != APPLICATION_DATA || head[1] != 3 || head[2] != 3 || body < OVERHEAD || body > RECORD + OVERHEAD);
  if (odd || have < HEAD + body) return odd ? BROKEN : LATER;
  size_t len = body - OVERHEAD;
  bool good = begin_record(w, head), is_short = len <= SHORT;
  w->from += HEAD + body;
  for (; good && !is_short && direct < len && (here = place(m, *got + direct, &to)); direct += here) {
    if (here > len - direct) here = len - direct;
    good = cipher(w, to, from + direct, here);
  }
  good = good && (direct == len || cipher(w, l->rest, from + direct, len - direct)) && cipher(w, &type, from + len, 1);
  if (!good || !end_record(w, from + len + 1)) return BROKEN;
  if (type == APPLICATION_DATA && len) {
    if (++l->paid == EARNS_ONE) l->paid = 0, l->spare += l->spare < SPARE;
    return *got += direct, l->rest_from = 0, l->rest_to = len - direct, MORE;
  }
  if (type == ALERT && len == sizeof goodbye && !memcmp(l->rest, goodbye, len)) return OVER;
  bool update = type == HANDSHAKE && len == sizeof key_update && !memcmp(l->rest, key_update, len - 1) && l->rest[len - 1] <= 1;
  if (!update && type != APPLICATION_DATA) return BROKEN; /* padding, too: 5.4, nobody pads */
  if (!l->spare--) return UNRULY; /* each costs this side more than its sender */
  if (update) l->owes |= l->rest[len - 1];
  return !update || use_secret(w, true) ? MORE : BROKEN;
}
static enum progress refill(struct link *l) {
  struct way *w = &l->in;
  ssize_t n;
  memmove(w->bytes, w->bytes + w->from, w->to - w->from), w->to -= w->from, w->from = 0;
  do n = CALL(recv, l->fd, w->bytes + w->to, IN - w->to, MSG_DONTWAIT); while (n < 0 && errno == EINTR);
  if (n > 0) w->to += (size_t)n; /* a short one says nothing: the connection's end may follow, of which epoll has told already */
  return n > 0 ? MORE : n < 0 && errno == EAGAIN ? LATER : BROKEN;
}
static ssize_t unseal(struct link *l, struct msghdr *m, int flags) {
  size_t got = 0, here;
  int opened = 0;
  enum progress now = MORE;
  unsigned char *to;
  if (flags & MSG_ERRQUEUE) return refuse(EAGAIN);
  if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) return refuse(EOPNOTSUPP);
  if (l->broken) return give_up(l, ECONNRESET);
  while (now == MORE && (here = place(m, got, &to))) {
    size_t rest = l->rest_to - l->rest_from, n = here < rest ? here : rest;
    if (rest) memcpy(to, l->rest + l->rest_from, n), l->rest_from += n, got += n;
    else if (l->over) now = OVER;
    else if (opened == ONE_CALL) break; /* with data by then: others wait for the lock */
    else if ((now = open_record(l, m, &got)) != LATER) opened++;
    else if (!got) now = refill(l); /* TensorFlow reads on until EAGAIN */
  }
  l->over = l->over || now == OVER;
  if (now < LATER && !l->sealed) (void)(say(l, ALERT, now == UNRULY ? unexpected : bad_record, sizeof bad_record) && flush(l));
  if (now == UNRULY) pthread_mutex_lock(&board), unruly[l->node]++, pthread_mutex_unlock(&board);
  if (now < LATER && give_up(l, now == UNRULY ? EPROTO : ECONNRESET) && !got) return -1; /* what came before still counts */
  m->msg_flags = 0, m->msg_namelen = 0, m->msg_controllen = 0;
  if (!got) return now == LATER ? refuse(EAGAIN) : 0;
  if (!l->used) pthread_mutex_lock(&board), l->used = true, pthread_mutex_unlock(&board);
  return (ssize_t)got;
}
static void say_goodbye(struct link *l) {
  if (l->kind == LINK && !l->broken && !l->closing && !l->sealed) l->closing = say(l, ALERT, goodbye, sizeof goodbye), (void)flush(l);
}

/* ---- what TensorFlow calls ---- */
/* Does `action` on a descriptor of the layer, under its lock; other descriptors fall through. */
#define ON_LINK(type, action)                \
  do {                                       \
    if (!known(fd)) break;                   \
    if (is_child()) return refuse(EBADF);    \
    struct link *l = take(fd);               \
    if (!l) break;                           \
    pthread_mutex_lock(&l->lock);            \
    type result = action;                    \
    int saved = errno;                       \
    pthread_mutex_unlock(&l->lock), give(l); \
    return errno = saved, result;            \
  } while (0)
int INTERPOSED(socket)(int domain, int type, int protocol) {
  if (!TENSORFLOW) return CALL(socket, domain, type, protocol);
  if (is_child()) return refuse(EACCES);
  if ((domain != AF_INET && domain != AF_INET6) || (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) return refuse(EAFNOSUPPORT);
  int fd = CALL(socket, domain, type | SOCK_CLOEXEC, protocol);
  struct link *l = make(RAW, fd);
  if (!l && fd >= 0) CALL(close, fd);
  return l ? fd : refuse(EMFILE);
}
/* A parked connection with a node; or (`ended`) one that has ended before TensorFlow had it. Who calls it has the board. */
static struct link *find(int node, bool ended) {
  struct link *l = newest;
  for (; l; l = l->older) {
    struct pollfd end = {.fd = l->fd, .events = POLLRDHUP};
    bool waits = l->place == PARKED || (ended && l->place == QUEUED);
    if (waits && l->node == node && (poll(&end, 1, 0) != 0) == ended) break;
  }
  return l;
}
static void sweep(int node) {
  struct link *l;
  do {
    pthread_mutex_lock(&board);
    if ((l = find(node, true))) drop(l);
    pthread_mutex_unlock(&board);
    if (l) give(l);
  } while (l);
}
/* A parked connection takes the socket's place, of which epoll has not been told yet. */
static int dial(struct link *raw, uint32_t ip) {
  int node = (int)(ip & 0xffff);
  unsigned char line[2] = {(unsigned char)(node >> 8), (unsigned char)node};
  if (raw->kind != RAW || raw->bound || raw->fd < 0 || (ip & 0xffff0000u) != VIRTUAL || node >= MAX_NODES) return refuse(EACCES);
  sweep(node);
  pthread_mutex_lock(&board);
  struct link *l = find(node, false);
  if (l && CALL(dup3, l->fd, raw->fd, O_CLOEXEC) < 0) l = NULL;
  if (l) drop(l), l->fd = raw->fd, l->place = DIALLED, atomic_store(&table[l->fd], l), raw->fd = -1;
  if (l) raw->refs--; /* the table's; the caller has one more */
  pthread_mutex_unlock(&board);
  CALL(send, bell, line, sizeof line, MSG_DONTWAIT | MSG_NOSIGNAL); /* Python makes the next one */
  return l ? 0 : refuse(ECONNREFUSED);
}
int INTERPOSED(connect)(int fd, const struct sockaddr *a, socklen_t len) {
  ON_LINK(int, dial(l, ipv4(a, len)));
  return TENSORFLOW ? refuse(EACCES) : CALL(connect, fd, a, len);
}
int INTERPOSED(bind)(int fd, const struct sockaddr *a, socklen_t len) { /* no real one, so that only the port counts */
  ON_LINK(int, l->kind == RAW && ipv4(a, len) == INADDR_ANY ? (l->bound = true, 0) : refuse(EACCES));
  return TENSORFLOW ? refuse(EACCES) : CALL(bind, fd, a, len);
}
static int open_port(struct link *l) {
  uint64_t one = 1;
  if (l->kind != RAW || !l->bound || l->fd < 0) return refuse(EACCES);
  int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), code = event < 0 ? errno : 0;
  pthread_mutex_lock(&board);
  if (!code && port) code = EADDRINUSE;
  if (!code && CALL(dup3, event, l->fd, O_CLOEXEC) < 0) code = errno;
  if (!code) l->kind = PORT, port = l;
  if (!code) (void)!CALL(write, l->fd, &one, sizeof one); /* perhaps some wait already */
  pthread_mutex_unlock(&board);
  if (event >= 0) CALL(close, event);
  return code ? refuse(code) : 0;
}
int INTERPOSED(listen)(int fd, int backlog) {
  ON_LINK(int, open_port(l));
  return TENSORFLOW ? refuse(EACCES) : CALL(listen, fd, backlog);
}
static int accept_queued(struct link *at, struct sockaddr *a, socklen_t *len) {
  uint64_t rings;
  struct link *oldest = NULL;
  if (at->kind != PORT) return refuse(EACCES);
  pthread_mutex_lock(&board);
  for (struct link *l = newest; l; l = l->older) oldest = l->place == QUEUED ? l : oldest;
  if (oldest) oldest->place = ACCEPTED;
  else (void)!CALL(read, at->fd, &rings, sizeof rings);
  pthread_mutex_unlock(&board);
  return oldest ? tell_address(oldest->node, a, len), oldest->fd : refuse(EAGAIN);
}
int INTERPOSED(accept4)(int fd, struct sockaddr *a, socklen_t *len, int flags) {
  ON_LINK(int, accept_queued(l, a, len));
  return TENSORFLOW ? refuse(EACCES) : CALL(accept4, fd, a, len, flags);
}
int INTERPOSED(getsockname)(int fd, struct sockaddr *a, socklen_t *len) {
  return known(fd) ? tell_address(own_node, a, len) : CALL(getsockname, fd, a, len);
}
int INTERPOSED(getpeername)(int fd, struct sockaddr *a, socklen_t *len) {
  ON_LINK(int, l->kind == LINK ? tell_address(l->node, a, len) : refuse(ENOTCONN));
  return CALL(getpeername, fd, a, len);
}
/* An allow-list: others could send past TLS (zero copy, kTLS), or count bytes of the kernel, not of TLS (TCP_INQ). */
static int set_option(struct link *l, int level, int name, const void *value, socklen_t len) {
  bool tcp = level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_USER_TIMEOUT);
  bool any = level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_KEEPALIVE);
  if (!tcp && !any && !(level == IPPROTO_IPV6 && name == IPV6_V6ONLY)) return refuse(ENOPROTOOPT);
  return l->kind == PORT ? 0 : CALL(setsockopt, l->fd, level, name, value, len);
}
int INTERPOSED(setsockopt)(int fd, int level, int name, const void *value, socklen_t len) {
  ON_LINK(int, set_option(l, level, name, value, len));
  return CALL(setsockopt, fd, level, name, value, len);
}
/* Whether TensorFlow has it, and not Python still. */
static bool given(struct link *l, int fd) { return l->fd == fd && (l->place == DIALLED || l->place == ACCEPTED); }
ssize_t INTERPOSED(sendmsg)(int fd, const struct msghdr *m, int flags) {
  ON_LINK(ssize_t, given(l, fd) ? seal(l, m) : refuse(ENOTCONN));
  return TENSORFLOW ? refuse(EACCES) : CALL(sendmsg, fd, m, flags);
}
ssize_t INTERPOSED(recvmsg)(int fd, struct msghdr *m, int flags) {
  ON_LINK(ssize_t, given(l, fd) ? unseal(l, m, flags) : refuse(ENOTCONN));
  return TENSORFLOW ? refuse(EACCES) : CALL(recvmsg, fd, m, flags);
}
int INTERPOSED(shutdown)(int fd, int how) {
  ON_LINK(int, l->kind == PORT || l->fd < 0 ? 0 : (say_goodbye(l), CALL(shutdown, fd, how)));
  return CALL(shutdown, fd, how);
}
int INTERPOSED(close)(int fd) {
  struct link *l = !known(fd) || is_child() ? NULL : take(fd);
  if (!l) return CALL(close, fd);
  pthread_mutex_lock(&l->lock);
  say_goodbye(l);
  pthread_mutex_lock(&board);
  bool ours = atomic_load(&table[fd]) == l; /* else another thread has just closed it */
  int result = ours ? (l->refs--, drop(l)) : refuse(EBADF);
  if (l == port) port = NULL;
  pthread_mutex_unlock(&board), pthread_mutex_unlock(&l->lock);
  return give(l), result;
}
int INTERPOSED(getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
  if (TENSORFLOW) numeric.ai_flags |= AI_NUMERICHOST, hints = &numeric; /* no name goes to the network */
  return CALL(getaddrinfo, host, service, hints, found);
}
/* No second descriptor, and none that a program which is started would have. */
static int may_control(int fd, int cmd, void *argument) {
  bool spreads = cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC || (cmd == F_SETFD && !((uintptr_t)argument & FD_CLOEXEC));
  return !known(fd) ? 0 : is_child() ? refuse(EBADF) : spreads ? refuse(EOPNOTSUPP) : 0;
}
#define FCNTL(name)                                                             \
  int INTERPOSED(name)(int fd, int cmd, ...) {                                  \
    va_list rest;                                                               \
    void *argument = (va_start(rest, cmd), va_arg(rest, void *));               \
    va_end(rest);                                                               \
    return may_control(fd, cmd, argument) ? -1 : CALL(name, fd, cmd, argument); \
  }
FCNTL(fcntl)
FCNTL(fcntl64)
/* What else could move bytes, or give a second descriptor. */
#define REFUSED(type, name, bad, declared, ...) \
  type INTERPOSED(name) declared { return bad ? refuse(is_child() ? EBADF : EOPNOTSUPP) : CALL(name, __VA_ARGS__); }
#define BAD (known(fd) || TENSORFLOW)
REFUSED(int, accept, BAD, (int fd, struct sockaddr *a, socklen_t *n), fd, a, n)
REFUSED(int, dup, known(fd), (int fd), fd)
REFUSED(int, dup2, known(fd) || (known(to) && !is_child()), (int fd, int to), fd, to)
REFUSED(int, dup3, known(fd) || (known(to) && !is_child()), (int fd, int to, int f), fd, to, f)
REFUSED(ssize_t, read, known(fd), (int fd, void *b, size_t n), fd, b, n)
REFUSED(ssize_t, write, known(fd), (int fd, const void *b, size_t n), fd, b, n)
REFUSED(ssize_t, readv, known(fd), (int fd, const struct iovec *v, int n), fd, v, n)
REFUSED(ssize_t, writev, known(fd), (int fd, const struct iovec *v, int n), fd, v, n)
REFUSED(ssize_t, recv, BAD, (int fd, void *b, size_t n, int f), fd, b, n, f)
REFUSED(ssize_t, send, BAD, (int fd, const void *b, size_t n, int f), fd, b, n, f)
REFUSED(ssize_t, recvfrom, BAD, (int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l), fd, b, n, f, a, l)
REFUSED(ssize_t, sendto, BAD, (int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l), fd, b, n, f, a, l)
REFUSED(int, sendmmsg, BAD, (int fd, struct mmsghdr *m, unsigned n, int f), fd, m, n, f)
REFUSED(int, recvmmsg, BAD, (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t), fd, m, n, f, t)
REFUSED(ssize_t, sendfile, known(to) || known(fd), (int to, int fd, off_t *at, size_t n), to, fd, at, n)
REFUSED(ssize_t, sendfile64, known(to) || known(fd), (int to, int fd, off64_t *at, size_t n), to, fd, at, n)
REFUSED(ssize_t, splice, known(fd) || known(to), (int fd, off64_t *a, int to, off64_t *b, size_t n, unsigned f), fd, a, to, b, n, f)

/* ---- what Python calls ---- */
const char *coterie_source_digest(void) { return SOURCE_DIGEST; } /* of this file; `building.py` sets it */
/* Whether every one of the calls, looked up now, comes here. */
int coterie_in_front(void) {
  Dl_info own, found;
  bool all = dladdr((void *)resolve, &own);
#define IN_FRONT(name) all = all && dladdr(dlsym(RTLD_DEFAULT, #name), &found) && found.dli_fbase == own.dli_fbase;
  CALLS(IN_FRONT)
  return all;
}
/* From now on callers in files below `of` are TensorFlow; `socket` gets a node's number (2 bytes) whenever they dial it. */
int coterie_arm(const char *of, int node, int socket) {
  if (atomic_load(&armed) || strlen(of) >= sizeof folder || node < 0 || node >= MAX_NODES) return -1;
  strcpy(folder, of), own_node = node, bell = socket, owner = getpid(), forked = false;
  return atomic_store(&armed, true), 0;
}
/* Gives a connection to TensorFlow, to dial with or to accept: Python has shaken hands on it and judged the peer, and neither
   has sent anything since. The secrets are those of its traffic, of TLS_AES_128_GCM_SHA256. 0: the descriptor is taken. */
int coterie_hand_over(int fd, int node, uint64_t incarnation, int to_dial, const unsigned char *sending, const unsigned char *receiving) {
  struct link *l = CALL(fcntl, fd, F_SETFD, FD_CLOEXEC) || node < 0 || node >= MAX_NODES ? NULL : make(LINK, fd);
  if (!l) return -1;
  l->out.seals = 1;
  bool good = open_way(&l->out, sending) && open_way(&l->in, receiving);
  pthread_mutex_lock(&board);
  l->node = node, l->incarnation = incarnation, l->place = to_dial ? PARKED : QUEUED;
  if (!good) l->fd = -1, l->place = HELD, atomic_store(&table[fd], NULL);
  else if (!to_dial && port) (void)!CALL(write, port->fd, &(uint64_t){1}, sizeof(uint64_t));
  pthread_mutex_unlock(&board);
  return good ? 0 : (give(l), -1);
}
/* Breaks every connection with a node, but not those with one incarnation of it (0: all). */
void coterie_cut(int node, uint64_t incarnation) {
  pthread_mutex_lock(&board);
  for (struct link *l = newest; l; l = l->older)
    if (l->place && l->node == node && (!incarnation || l->incarnation != incarnation)) CALL(shutdown, l->fd, SHUT_RDWR);
  pthread_mutex_unlock(&board);
}
/* How many connections with a node are parked, or given without its having spoken; for -1, all descriptors. */
int coterie_count(int node, int given) {
  sweep(node);
  pthread_mutex_lock(&board);
  int n = node < 0 ? live : 0;
  for (struct link *l = newest; l; l = l->older)
    n += l->node == node && !l->used && (given ? l->place >= QUEUED : l->place == PARKED);
  pthread_mutex_unlock(&board);
  return n;
}
/* How many connections with a node were ended, since it was last asked, because of what came without data. */
int coterie_unruly(int node) {
  pthread_mutex_lock(&board);
  int n = unruly[node];
  unruly[node] = 0;
  pthread_mutex_unlock(&board);
  return n;
}
