/* TLS 1.3 inside the socket calls of TensorFlow's gRPC.
   The library stands in front of libc (LD_PRELOAD). TensorFlow, told apart from other callers by the file
   that the return address lies in, may make TCP sockets only, connect them only to virtual addresses
   (multicast, RFC 2365: no kernel opens a TCP connection to one, so without this library nothing leaves)
   and bind only its own virtual port. Whatever else is done with such a descriptor is an error, never
   plaintext. Connections are made, shaken hands on and judged by Python, then handed over: PARKED
   for TensorFlow to dial with, or QUEUED for it to accept. From then on what it sends and receives is TLS.
   There is no policy here, no callback into Python, no thread, no file, no environment. A descriptor is RAW,
   a socket that TensorFlow has made; PORT, the one that it listens on (an eventfd, readable while a connection
   waits); or LINK, a TLS connection. `board` guards table, lists and counts, a link's `lock` its TLS state;
   whoever needs both takes the link's first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef INTERPOSED /* the sanitizers' harness gives the calls other names */
#define INTERPOSED(name) name
#define FRESH_KEY (1u << 23) /* records; AES-GCM bears 2^24.5 of them under one key (RFC 8446, 5.5) */
#endif
#define VIRTUAL 0xef430000u /* 239.67.0.0: node i is 239.67.(i / 256).(i % 256) */
enum { VIRTUAL_PORT = 2222, MAX_NODES = 1025, MAX_FD = 65536 };
enum { RECORD = 16384, OUT = 131072, OUT_FULL = OUT - 18432 }; /* a sealed record takes less than 18 KiB */

struct link {
  enum { RAW, PORT, LINK } kind;
  enum { HELD, PARKED, DIALLED, QUEUED, ACCEPTED } place; /* held by Python; parked to dial with; queued to accept */
  int fd, node;
  unsigned refs; /* guarded by board */
  uint64_t incarnation;
  pthread_mutex_t lock;
  bool bound, back, inq, broken, used;
  SSL *ssl;
  unsigned char *out, *piece;
  size_t out_from, out_to, sealed, records; /* sealed: plaintext in `out`, for the caller to present again */
  struct link *older;
};
static pthread_mutex_t board = PTHREAD_MUTEX_INITIALIZER;
static struct link *_Atomic table[MAX_FD];
static struct link *newest, *port;
static int live, owner, own_node, bell = -1; /* owner: this process */
static char folder[1024];
static atomic_bool armed;
static BIO_METHOD *method;
/* The second one: who dials below is who TensorFlow dials. */
static const unsigned char protocols[2][18] = {"\x0c" "coterie-tf/1", "\x11" "coterie-tf-back/1"};
#define CALLS(X)                                                                                          \
  X(socket) X(connect) X(bind) X(listen) X(accept) X(accept4) X(getsockname) X(getpeername) X(setsockopt) \
  X(shutdown) X(close) X(fcntl) X(dup) X(dup2) X(dup3) X(getaddrinfo) X(sendmsg) X(recvmsg) X(sendmmsg)   \
  X(recvmmsg) X(read) X(write) X(readv) X(writev) X(recv) X(send) X(recvfrom) X(sendto) X(sendfile) X(splice)
#define DECLARE(name) static __typeof__(name) *real_##name;
#define FIND(name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name);
CALLS(DECLARE)
static void resolve(void) { CALLS(FIND) }
/* OpenSSL obeys no openssl.cnf of the host, and does not end before TensorFlow's threads do. */
__attribute__((constructor)) static void begin(void) { resolve(), OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL); }
#define CALL(name, ...) ((real_##name ? (void)0 : resolve()), real_##name(__VA_ARGS__)) /* others' constructors may come first */
static int refuse(int code) { return errno = code, -1; }

/* ---- descriptors ---- */
static bool is_tensorflow(void *caller) {
  Dl_info info;
  return atomic_load(&armed) && (!*folder || (dladdr(caller, &info) && info.dli_fname && !strncmp(info.dli_fname, folder, strlen(folder))));
}
#define TENSORFLOW is_tensorflow(__builtin_return_address(0))
/* Not in a child process: the keys are this one's and, after vfork, so is the memory. */
static bool tracked(int fd) { return fd >= 0 && fd < MAX_FD && atomic_load(&table[fd]) && getpid() == owner; }
static struct link *take(int fd) {
  struct link *l = NULL;
  if (!tracked(fd)) return NULL;
  pthread_mutex_lock(&board);
  if ((l = atomic_load(&table[fd]))) l->refs++;
  pthread_mutex_unlock(&board);
  return l;
}
static void give(struct link *l) {
  pthread_mutex_lock(&board);
  struct link **at = &newest;
  bool last = --l->refs == 0;
  while (last && *at != l) at = &(*at)->older;
  if (last) *at = l->older, live--;
  pthread_mutex_unlock(&board);
  if (!last) return;
  if (l->fd >= 0) CALL(close, l->fd);
  SSL_free(l->ssl);
  pthread_mutex_destroy(&l->lock), free(l->out), free(l->piece), free(l);
}
static struct link *make(int kind, int fd) {
  struct link *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->kind = kind, l->fd = fd, l->refs = 1, pthread_mutex_init(&l->lock, NULL);
  pthread_mutex_lock(&board);
  l->older = newest, newest = l, live++;
  pthread_mutex_unlock(&board);
  return l;
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

/* ---- TLS: bytes in and out ---- */
static int bio_read(BIO *bio, char *to, int len) {
  struct link *l = BIO_get_data(bio);
  ssize_t n;
  BIO_clear_retry_flags(bio);
  do n = CALL(recv, l->fd, to, (size_t)len, MSG_DONTWAIT); while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  return (int)n; /* a short one says nothing: the connection's end may follow, of which epoll has told already */
}
/* 1: all is sent; 0: the kernel takes no more now; -1: the connection is broken. */
static int flush(struct link *l) {
  while (l->out_from < l->out_to) {
    ssize_t n = CALL(send, l->fd, l->out + l->out_from, l->out_to - l->out_from, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return errno == EAGAIN ? 0 : -1;
    if (n > 0) l->out_from += (size_t)n;
  }
  l->out_from = l->out_to = 0;
  return 1;
}
static int bio_write(BIO *bio, const char *from, int len) {
  struct link *l = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if ((size_t)len > OUT - l->out_to && flush(l) < 0) return -1;
  if ((size_t)len > OUT - l->out_to) return BIO_set_retry_write(bio), -1;
  memcpy(l->out + l->out_to, from, (size_t)len);
  l->out_to += (size_t)len;
  return len;
}
/* What OpenSSL believes flushed, flush() sends: many records at once. */
static long bio_ctrl(BIO *bio, int cmd, long n, void *p) { return (void)bio, (void)n, (void)p, cmd == BIO_CTRL_FLUSH; }
static int give_up(struct link *l) { /* after the alert, if TLS made one */
  return l->broken = true, (void)flush(l), ERR_clear_error(), refuse(ECONNRESET);
}
/* Up to one record of what the caller presents, from byte `at` on. */
static size_t gather(const struct msghdr *m, size_t at, unsigned char *to) {
  size_t len = 0;
  for (size_t i = 0; i < m->msg_iovlen && len < RECORD; i++) {
    size_t here = m->msg_iov[i].iov_len, skip = at < here ? at : here;
    size_t n = here - skip < RECORD - len ? here - skip : RECORD - len;
    if (n) memcpy(to + len, (char *)m->msg_iov[i].iov_base + skip, n);
    at -= skip, len += n;
  }
  return len;
}
/* Bytes count as sent once the kernel has them: what was sealed and does not fit is presented again. */
static ssize_t seal(struct link *l, const struct msghdr *m) {
  size_t total = 0, done, batch = 0, len;
  if (m->msg_controllen || m->msg_namelen) return refuse(EOPNOTSUPP);
  for (size_t i = 0; i < m->msg_iovlen; i++) total += m->msg_iov[i].iov_len;
  int sent = l->broken ? -1 : flush(l);
  if (sent < 0 || l->sealed > total) return give_up(l);
  if (!sent) return refuse(EAGAIN);
  done = l->sealed, l->sealed = 0;
  while (sent && (len = gather(m, done + batch, l->piece))) {
    if (++l->records % FRESH_KEY == 0) SSL_key_update(l->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    int n = SSL_write(l->ssl, l->piece, (int)len);
    if (n <= 0) return give_up(l); /* the handshake is done and `out` has room: there is nothing to wait for */
    batch += (size_t)n;
    if (l->out_to < OUT_FULL && done + batch < total) continue;
    if ((sent = flush(l)) < 0) return give_up(l);
    if (sent) done += batch, batch = 0;
  }
  l->sealed = batch;
  return done || !total ? (ssize_t)done : refuse(EAGAIN);
}
static ssize_t unseal(struct link *l, struct msghdr *m, int flags) {
  size_t got = 0, room = m->msg_controllen;
  bool more = true, over = false;
  if (flags & MSG_ERRQUEUE) return refuse(EAGAIN);
  if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) return refuse(EOPNOTSUPP);
  if (l->broken) return give_up(l);
  ERR_clear_error(); /* else SSL_get_error() takes what another connection has left for this one's */
  for (size_t i = 0; i < m->msg_iovlen && more; i++)
    for (size_t at = 0; at < m->msg_iov[i].iov_len && more;) {
      int n = SSL_read(l->ssl, (char *)m->msg_iov[i].iov_base + at, (int)(m->msg_iov[i].iov_len - at));
      int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(l->ssl, n);
      if (n > 0) at += (size_t)n, got += (size_t)n;
      else more = false, over = why == SSL_ERROR_ZERO_RETURN, l->broken = !over && why != SSL_ERROR_WANT_READ;
    }
  if (l->broken && !got) return give_up(l); /* what came before it still counts */
  (void)flush(l);                           /* an answer of TLS itself, such as to a key update */
  m->msg_flags = 0, m->msg_namelen = 0, m->msg_controllen = 0;
  if (!got) return over ? 0 : refuse(EAGAIN);
  if (!l->used) pthread_mutex_lock(&board), l->used = true, pthread_mutex_unlock(&board);
  if (l->inq && m->msg_control && room >= CMSG_SPACE(sizeof(int))) {
    struct cmsghdr *c = m->msg_control;
    int left = more || over || l->broken; /* whether reading on gives something now */
    c->cmsg_level = IPPROTO_TCP, c->cmsg_type = TCP_CM_INQ, c->cmsg_len = CMSG_LEN(sizeof left);
    memcpy(CMSG_DATA(c), &left, sizeof left);
    m->msg_controllen = CMSG_SPACE(sizeof left);
  }
  return (ssize_t)got;
}
static void say_goodbye(struct link *l) {
  if (l->kind == LINK && !l->broken && !l->sealed) SSL_shutdown(l->ssl), (void)flush(l);
  ERR_clear_error();
}

/* ---- what TensorFlow calls ---- */
/* Does `action` on a tracked descriptor, under its lock; other descriptors fall through. */
#define ON_LINK(type, action)       \
  do {                              \
    struct link *l = take(fd);      \
    if (!l) break;                  \
    pthread_mutex_lock(&l->lock);   \
    type result = action;           \
    int saved = errno;              \
    pthread_mutex_unlock(&l->lock); \
    give(l);                        \
    errno = saved;                  \
    return result;                  \
  } while (0)
int INTERPOSED(socket)(int domain, int type, int protocol) {
  if (!TENSORFLOW) return CALL(socket, domain, type, protocol);
  if ((domain != AF_INET && domain != AF_INET6) || (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) return refuse(EAFNOSUPPORT);
  int fd = CALL(socket, domain, type | SOCK_CLOEXEC, protocol);
  struct link *l = fd >= 0 && fd < MAX_FD ? make(RAW, fd) : NULL;
  if (l) atomic_store(&table[fd], l);
  else if (fd >= 0) CALL(close, fd);
  return l ? fd : refuse(EMFILE);
}
/* A parked connection with a node, taken out; or (`ended`) one that has ended before TensorFlow had it. */
static struct link *pick(int node, bool ended) {
  pthread_mutex_lock(&board);
  struct link *l = newest;
  for (; l; l = l->older) {
    struct pollfd end = {.fd = l->fd, .events = POLLRDHUP};
    bool waits = l->place == PARKED || (ended && l->place == QUEUED);
    if (waits && l->node == node && (poll(&end, 1, 0) != 0) == ended) break;
  }
  if (l) l->place = ended ? HELD : DIALLED;
  pthread_mutex_unlock(&board);
  return l;
}
#define SWEEP(node) for (struct link *ended; (ended = pick(node, true));) give(ended)
/* A parked connection takes the socket's place, of which epoll has not been told yet. */
static int dial(struct link *raw, uint32_t ip) {
  int node = (int)(ip & 0xffff);
  unsigned char line[2] = {(unsigned char)(node >> 8), (unsigned char)node};
  if (raw->kind != RAW || raw->bound || raw->fd < 0 || (ip & 0xffff0000u) != VIRTUAL || node >= MAX_NODES) return refuse(EACCES);
  SWEEP(node);
  struct link *l = pick(node, false);
  CALL(send, bell, line, sizeof line, MSG_DONTWAIT | MSG_NOSIGNAL); /* Python makes the next one */
  if (l && CALL(dup3, l->fd, raw->fd, O_CLOEXEC) < 0) give(l), l = NULL;
  if (!l) return refuse(ECONNREFUSED);
  pthread_mutex_lock(&board);
  CALL(close, l->fd), l->fd = raw->fd, raw->fd = -1;
  atomic_store(&table[l->fd], l);
  raw->refs--; /* the table's; the caller has one more */
  pthread_mutex_unlock(&board);
  return 0;
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
  if (oldest) oldest->place = ACCEPTED, atomic_store(&table[oldest->fd], oldest);
  else (void)!CALL(read, at->fd, &rings, sizeof rings);
  pthread_mutex_unlock(&board);
  return oldest ? tell_address(oldest->node, a, len), oldest->fd : refuse(EAGAIN);
}
int INTERPOSED(accept4)(int fd, struct sockaddr *a, socklen_t *len, int flags) {
  ON_LINK(int, accept_queued(l, a, len));
  return TENSORFLOW ? refuse(EACCES) : CALL(accept4, fd, a, len, flags);
}
int INTERPOSED(getsockname)(int fd, struct sockaddr *a, socklen_t *len) {
  return tracked(fd) ? tell_address(own_node, a, len) : CALL(getsockname, fd, a, len);
}
int INTERPOSED(getpeername)(int fd, struct sockaddr *a, socklen_t *len) {
  ON_LINK(int, l->kind == LINK ? tell_address(l->node, a, len) : refuse(ENOTCONN));
  return CALL(getpeername, fd, a, len);
}
/* An allow-list: others could send past TLS (zero copy, kTLS), or count bytes that TLS holds. */
static int set_option(struct link *l, int level, int name, const int *value, socklen_t len) {
  bool tcp = level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_USER_TIMEOUT);
  bool any = level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_KEEPALIVE);
  bool inq = level == IPPROTO_TCP && name == TCP_INQ && l->kind == LINK && len == sizeof *value; /* unseal() tells it */
  if (inq) l->inq = *value;
  if (!inq && !tcp && !any && !(level == IPPROTO_IPV6 && name == IPV6_V6ONLY)) return refuse(ENOPROTOOPT);
  return inq || l->kind == PORT ? 0 : CALL(setsockopt, l->fd, level, name, value, len);
}
int INTERPOSED(setsockopt)(int fd, int level, int name, const void *value, socklen_t len) {
  ON_LINK(int, set_option(l, level, name, value, len));
  return CALL(setsockopt, fd, level, name, value, len);
}
ssize_t INTERPOSED(sendmsg)(int fd, const struct msghdr *m, int flags) {
  ON_LINK(ssize_t, l->kind == LINK && l->fd == fd ? seal(l, m) : refuse(ENOTCONN));
  return TENSORFLOW ? refuse(EACCES) : CALL(sendmsg, fd, m, flags);
}
ssize_t INTERPOSED(recvmsg)(int fd, struct msghdr *m, int flags) {
  ON_LINK(ssize_t, l->kind == LINK && l->fd == fd ? unseal(l, m, flags) : refuse(ENOTCONN));
  return TENSORFLOW ? refuse(EACCES) : CALL(recvmsg, fd, m, flags);
}
int INTERPOSED(shutdown)(int fd, int how) {
  ON_LINK(int, l->kind == PORT || l->fd < 0 ? 0 : (say_goodbye(l), CALL(shutdown, fd, how)));
  return CALL(shutdown, fd, how);
}
int INTERPOSED(close)(int fd) {
  struct link *l = take(fd);
  if (!l) return CALL(close, fd);
  pthread_mutex_lock(&l->lock);
  say_goodbye(l);
  pthread_mutex_lock(&board);
  bool ours = atomic_load(&table[fd]) == l; /* else another thread has just closed it */
  int result = ours ? (atomic_store(&table[fd], NULL), l->refs--, l->fd = -1, CALL(close, fd)) : refuse(EBADF);
  if (l == port) port = NULL;
  pthread_mutex_unlock(&board), pthread_mutex_unlock(&l->lock);
  return give(l), result;
}
int INTERPOSED(getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
  if (TENSORFLOW) numeric.ai_flags |= AI_NUMERICHOST, hints = &numeric; /* no name goes to the network */
  return CALL(getaddrinfo, host, service, hints, found);
}
int INTERPOSED(fcntl)(int fd, int cmd, ...) {
  va_list rest; va_start(rest, cmd);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  return (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && tracked(fd) ? refuse(EOPNOTSUPP) : CALL(fcntl, fd, cmd, argument);
}
/* What else could move bytes, or give a second descriptor. */
#define REFUSED(type, name, bad, declared, ...) \
  type INTERPOSED(name) declared { return bad ? refuse(EOPNOTSUPP) : CALL(name, __VA_ARGS__); }
#define BAD (tracked(fd) || TENSORFLOW)
REFUSED(int, accept, BAD, (int fd, struct sockaddr *a, socklen_t *n), fd, a, n)
REFUSED(int, dup, tracked(fd), (int fd), fd)
REFUSED(int, dup2, tracked(fd) || tracked(to), (int fd, int to), fd, to)
REFUSED(int, dup3, tracked(fd) || tracked(to), (int fd, int to, int f), fd, to, f)
REFUSED(ssize_t, read, tracked(fd), (int fd, void *b, size_t n), fd, b, n)
REFUSED(ssize_t, write, tracked(fd), (int fd, const void *b, size_t n), fd, b, n)
REFUSED(ssize_t, readv, tracked(fd), (int fd, const struct iovec *v, int n), fd, v, n)
REFUSED(ssize_t, writev, tracked(fd), (int fd, const struct iovec *v, int n), fd, v, n)
REFUSED(ssize_t, recv, BAD, (int fd, void *b, size_t n, int f), fd, b, n, f)
REFUSED(ssize_t, send, BAD, (int fd, const void *b, size_t n, int f), fd, b, n, f)
REFUSED(ssize_t, recvfrom, BAD, (int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l), fd, b, n, f, a, l)
REFUSED(ssize_t, sendto, BAD, (int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l), fd, b, n, f, a, l)
REFUSED(int, sendmmsg, BAD, (int fd, struct mmsghdr *m, unsigned n, int f), fd, m, n, f)
REFUSED(int, recvmmsg, BAD, (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t), fd, m, n, f, t)
REFUSED(ssize_t, sendfile, tracked(to) || tracked(fd), (int to, int fd, off_t *at, size_t n), to, fd, at, n)
REFUSED(ssize_t, splice, tracked(fd) || tracked(to), (int fd, off64_t *a, int to, off64_t *b, size_t n, unsigned f), fd, a, to, b, n, f)

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
  method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coterie");
  if (!method || !BIO_meth_set_read(method, bio_read) || !BIO_meth_set_write(method, bio_write) || !BIO_meth_set_ctrl(method, bio_ctrl)) return -1;
  strcpy(folder, of), own_node = node, bell = socket, owner = getpid();
  return atomic_store(&armed, true), 0;
}
/* Python judges the certificate before it hands the connection over. TLS has shown by then that the peer
   has its key, and nothing of TensorFlow's has been sent. */
static int leave_to_python(X509_STORE_CTX *store, void *unused) { return (void)unused, X509_STORE_CTX_get0_cert(store) != NULL; }
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned in_len, void *unused) {
  (void)unused;
  for (int i = 0; i < 2; i++)
    if (in_len == 1u + protocols[i][0] && !memcmp(in, protocols[i], in_len))
      return ((struct link *)SSL_get_app_data(ssl))->back = i, *out = in + 1, *len = in[0], SSL_TLSEXT_ERR_OK;
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}
/* One of this node's certificates with its key, both DER. */
SSL_CTX *coterie_context(const unsigned char *cert, int cert_len, const unsigned char *key, int key_len) {
  SSL_CTX *ctx = SSL_CTX_new(TLS_method());
  bool good = ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
              SSL_CTX_set_num_tickets(ctx, 0) && SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256") &&
              SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384") &&
              SSL_CTX_use_certificate_ASN1(ctx, cert_len, cert) == 1 &&
              SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, ctx, key, key_len) == 1 && SSL_CTX_check_private_key(ctx) == 1;
  ERR_clear_error();
  if (!good) return SSL_CTX_free(ctx), NULL;
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  SSL_CTX_set_cert_verify_callback(ctx, leave_to_python, NULL);
  SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_default_read_buffer_len(ctx, 65536);
  return ctx;
}
/* Takes a connected socket over for a handshake. `back`: see `protocols`; for a listener the peer says it. */
struct link *coterie_open(int fd, SSL_CTX *ctx, int listener, int back) {
  struct link *l = fd >= 0 && fd < MAX_FD ? make(LINK, fd) : NULL;
  BIO *bio = BIO_new(method);
  if (l) l->ssl = SSL_new(ctx), l->out = malloc(OUT), l->piece = malloc(RECORD), l->back = back;
  if (!l || !bio || !l->ssl || !l->out || !l->piece || SSL_set_alpn_protos(l->ssl, protocols[!!back], 1u + protocols[!!back][0])) {
    if (l) l->fd = -1, give(l); /* it stays the caller's */
    return BIO_free(bio), NULL;
  }
  BIO_set_data(bio, l), BIO_set_init(bio, 1), SSL_set_bio(l->ssl, bio, bio);
  SSL_set_app_data(l->ssl, l);
  listener ? SSL_set_accept_state(l->ssl) : SSL_set_connect_state(l->ssl);
  return l;
}
/* 0: the handshake is done; -1: it has failed; else what poll must wait for. It reads no byte too many: epoll
   must still find TensorFlow's first ones in the kernel. */
int coterie_step(struct link *l) {
  const unsigned char *chosen;
  unsigned len;
  int n = (ERR_clear_error(), SSL_do_handshake(l->ssl)), sent = flush(l), why = n == 1 ? SSL_ERROR_NONE : SSL_get_error(l->ssl, n);
  ERR_clear_error();
  if (sent < 0 || (n != 1 && why != SSL_ERROR_WANT_READ)) return -1;
  if (n != 1 || !sent) return sent ? POLLIN : POLLOUT;
  SSL_get0_alpn_selected(l->ssl, &chosen, &len);
  return len == protocols[l->back][0] && !memcmp(chosen, protocols[l->back] + 1, len) ? 0 : -1;
}
/* The peer's certificate in DER; its length, or -1 if there is none or it does not fit. */
int coterie_shown(struct link *l, unsigned char *der, int room) {
  X509 *cert = SSL_get0_peer_certificate(l->ssl);
  int len = cert ? i2d_X509(cert, NULL) : -1;
  return len > 0 && len <= room ? i2d_X509(cert, &der) : -1;
}
int coterie_is_back(struct link *l) { return l->back; }
void coterie_drop(struct link *l) { give(l); }
/* Gives a judged connection to TensorFlow: to dial with, or to accept. */
void coterie_hand_over(struct link *l, int node, uint64_t incarnation, int to_dial) {
  SSL_set_read_ahead(l->ssl, 1);
  pthread_mutex_lock(&board);
  l->node = node, l->incarnation = incarnation, l->place = to_dial ? PARKED : QUEUED;
  if (!to_dial && port) (void)!CALL(write, port->fd, &(uint64_t){1}, sizeof(uint64_t));
  pthread_mutex_unlock(&board);
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
  SWEEP(node);
  pthread_mutex_lock(&board);
  int n = node < 0 ? live : 0;
  for (struct link *l = newest; l; l = l->older)
    n += l->node == node && !l->used && (given ? l->place >= QUEUED : l->place == PARKED);
  pthread_mutex_unlock(&board);
  return n;
}
