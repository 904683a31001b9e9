/* The interposed calls (LD_PRELOAD): what TensorFlow's gRPC does with sockets.

   TensorFlow is told apart from other callers by the file that the return address lies in. It may
   make TCP sockets only, connect them only to virtual addresses, and bind only its own virtual
   port. From then on what it sends and receives are records of TLS 1.3 (records.h). Whatever else
   is done with such a descriptor is an error, and so never plaintext. Other callers get what libc
   gives. There is no policy here, no handshake, no call into Python, no thread, no file and no
   environment. */
#define _GNU_SOURCE
#include "sockets.h"

#include <dlfcn.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "failing.h"
#include "links.h"
#include "real_calls.h"

#ifndef INTERPOSED /* the harness of the tests gives the calls other names */
#define INTERPOSED(name) name
#endif

/* 239.67.0.0: node i is 239.67.(i / 256).(i % 256). These are multicast addresses (RFC 2365), to
   which no kernel opens a TCP connection: without this library nothing leaves. */
#define VIRTUAL_NETWORK 0xef430000u
#define VIRTUAL_MASK 0xffff0000u
#define NOT_VIRTUAL 0xffffffffu

enum { VIRTUAL_PORT = 2222 };

static char tensorflow_folder[1024]; /* written before `armed` is set */
static atomic_bool armed;

/* ---- callers ---- */

bool sockets_arm(const char *folder, int own_node, int notified)
{
    if (atomic_load(&armed) || strlen(folder) >= sizeof tensorflow_folder) {
        return false;
    }
    strcpy(tensorflow_folder, folder);
    links_begin(own_node, notified);
    atomic_store(&armed, true);
    return true;
}

/* Whether a return address lies in one of TensorFlow's files. */
static bool is_tensorflow(void *caller)
{
    Dl_info file;
    if (!atomic_load(&armed)) {
        return false;
    }
    if (tensorflow_folder[0] == '\0') {
        return true;
    }
    return dladdr(caller, &file) && file.dli_fname != NULL &&
           strncmp(file.dli_fname, tensorflow_folder, strlen(tensorflow_folder)) == 0;
}

/* Whether the interposed function that this stands in was called by TensorFlow. */
#define CALLED_BY_TENSORFLOW is_tensorflow(__builtin_return_address(0))

/* The error of a call that TensorFlow may not make, or that a descriptor of the table does not
   have: it could move bytes past TLS, or give a second descriptor. */
static int refuse(void)
{
    return fails_with(links_in_child() ? EBADF : EOPNOTSUPP);
}

/* ---- addresses ---- */

/* The IPv4 address, also a mapped one, of a socket address with the virtual port; otherwise
   NOT_VIRTUAL. The port lies at one place in both kinds of addresses. */
static uint32_t virtual_port_address(const struct sockaddr *address, socklen_t size)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (size < sizeof *v4 || v4->sin_port != htons(VIRTUAL_PORT)) {
        return NOT_VIRTUAL;
    }
    if (address->sa_family == AF_INET) {
        return ntohl(v4->sin_addr.s_addr);
    }
    if (address->sa_family != AF_INET6 || size < sizeof *v6) {
        return NOT_VIRTUAL;
    }
    if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) {
        return INADDR_ANY;
    }
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        return ntohl(v6->sin6_addr.s6_addr32[3]);
    }
    return NOT_VIRTUAL;
}

/* Writes a node's virtual address, cut to the caller's room, as `getpeername` does. */
static int write_address(int node, struct sockaddr *address, socklen_t *size)
{
    struct sockaddr_in v4 = {
        .sin_family = AF_INET,
        .sin_port = htons(VIRTUAL_PORT),
        .sin_addr.s_addr = htonl(VIRTUAL_NETWORK | (uint32_t)node),
    };
    if (address != NULL && size != NULL) {
        memcpy(address, &v4, *size < sizeof v4 ? *size : sizeof v4);
        *size = sizeof v4;
    }
    return 0;
}

/* ---- sockets and connections ---- */

EXPORTED int INTERPOSED(socket)(int domain, int type, int protocol)
{
    if (!CALLED_BY_TENSORFLOW) {
        return real()->socket(domain, type, protocol);
    }
    if (links_in_child()) {
        return fails_with(EACCES);
    }
    bool internet = domain == AF_INET || domain == AF_INET6;
    if (!internet || (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) {
        return fails_with(EAFNOSUPPORT);
    }
    int fd = real()->socket(domain, type | SOCK_CLOEXEC, protocol);
    if (link_make_raw(fd)) {
        return fd;
    }
    if (fd >= 0) {
        real()->close(fd);
    }
    return fails_with(EMFILE);
}

/* The locked link's socket is connected with the node that an address names. */
static int dial(struct link *l, uint32_t address)
{
    if ((address & VIRTUAL_MASK) != VIRTUAL_NETWORK) {
        return fails_with(EACCES);
    }
    return link_dial(l, (int)(address & ~VIRTUAL_MASK));
}

EXPORTED int INTERPOSED(connect)(int fd, const struct sockaddr *address, socklen_t size)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, dial(l, virtual_port_address(address, size)));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->connect(fd, address, size);
}

/* There is no real one, so that only the port counts. */
static int bind_link(struct link *l, uint32_t address)
{
    if (l->kind != RAW || address != INADDR_ANY) {
        return fails_with(EACCES);
    }
    l->bound = true;
    return 0;
}

EXPORTED int INTERPOSED(bind)(int fd, const struct sockaddr *address, socklen_t size)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, bind_link(l, virtual_port_address(address, size)));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->bind(fd, address, size);
}

EXPORTED int INTERPOSED(listen)(int fd, int backlog)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, link_listen(l));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->listen(fd, backlog);
}

/* The next connection of a locked port, with its peer's virtual address. */
static int accept_link(struct link *port, struct sockaddr *address, socklen_t *size)
{
    int node;
    int accepted = link_accept(port, &node);
    if (accepted >= 0) {
        write_address(node, address, size);
    }
    return accepted;
}

EXPORTED int INTERPOSED(accept4)(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, accept_link(l, address, size));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->accept4(fd, address, size, flags);
}

EXPORTED int INTERPOSED(getsockname)(int fd, struct sockaddr *address, socklen_t *size)
{
    if (link_exists(fd)) {
        return write_address(links_own_node(), address, size);
    }
    return real()->getsockname(fd, address, size);
}

static int peer_address(const struct link *l, struct sockaddr *address, socklen_t *size)
{
    return l->kind == LINK ? write_address(l->node, address, size) : fails_with(ENOTCONN);
}

EXPORTED int INTERPOSED(getpeername)(int fd, struct sockaddr *address, socklen_t *size)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, peer_address(l, address, size));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return real()->getpeername(fd, address, size);
}

/* An allow-list: other options could send past TLS (zero copy, kTLS), or count bytes of the kernel
   and not of TLS (TCP_INQ). */
static bool may_set(int level, int name)
{
    switch (level) {
    case IPPROTO_TCP:
        return name == TCP_NODELAY || name == TCP_USER_TIMEOUT;
    case SOL_SOCKET:
        return name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_KEEPALIVE;
    case IPPROTO_IPV6:
        return name == IPV6_V6ONLY;
    default:
        return false;
    }
}

static int set_option(const struct link *l, int level, int name, const void *value, socklen_t size)
{
    if (!may_set(level, name)) {
        return fails_with(ENOPROTOOPT);
    }
    return l->kind == PORT ? 0 : real()->setsockopt(l->fd, level, name, value, size);
}

EXPORTED int INTERPOSED(setsockopt)(int fd, int level, int name, const void *value, socklen_t size)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, set_option(l, level, name, value, size));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return real()->setsockopt(fd, level, name, value, size);
}

static int shut_down(struct link *l, int how)
{
    if (l->kind == PORT || l->fd < 0) {
        return 0;
    }
    link_close_notify(l);
    return link_shut_down(l, how);
}

EXPORTED int INTERPOSED(shutdown)(int fd, int how)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return (int)link_unlock(l, shut_down(l, how));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return real()->shutdown(fd, how);
}

EXPORTED int INTERPOSED(close)(int fd)
{
    return link_close(fd);
}

/* No name that TensorFlow asks for goes to the network. */
EXPORTED int INTERPOSED(getaddrinfo)(const char *host, const char *service,
                                     const struct addrinfo *hints, struct addrinfo **found)
{
    struct addrinfo numeric = {0};
    if (!CALLED_BY_TENSORFLOW) {
        return real()->getaddrinfo(host, service, hints, found);
    }
    if (hints != NULL) {
        numeric = *hints;
    }
    numeric.ai_flags |= AI_NUMERICHOST;
    return real()->getaddrinfo(host, service, &numeric, found);
}

/* ---- bytes ---- */

static ssize_t send_message(struct link *l, int fd, const struct msghdr *message)
{
    if (!link_is_tensorflows(l, fd)) {
        return fails_with(ENOTCONN);
    }
    if (message->msg_controllen > 0 || message->msg_namelen > 0) {
        return fails_with(EOPNOTSUPP);
    }
    return link_send(l, message->msg_iov, message->msg_iovlen);
}

EXPORTED ssize_t INTERPOSED(sendmsg)(int fd, const struct msghdr *message, int flags)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return link_unlock(l, send_message(l, fd, message));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->sendmsg(fd, message, flags);
}

static ssize_t receive_message(struct link *l, int fd, struct msghdr *message, int flags)
{
    if (!link_is_tensorflows(l, fd)) {
        return fails_with(ENOTCONN);
    }
    if (flags & MSG_ERRQUEUE) {
        return fails_with(EAGAIN);
    }
    if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) {
        return fails_with(EOPNOTSUPP);
    }
    bool was_unruly = l->records.unruly;
    ssize_t got = records_receive(&l->records, l->fd, message->msg_iov, message->msg_iovlen);
    if (l->records.unruly && !was_unruly) {
        link_note_unruly(l);
    }
    if (got > 0) {
        link_note_used(l);
    }
    if (got >= 0 || errno == EAGAIN) {
        message->msg_flags = 0;
        message->msg_namelen = 0;
        message->msg_controllen = 0;
    }
    return got;
}

EXPORTED ssize_t INTERPOSED(recvmsg)(int fd, struct msghdr *message, int flags)
{
    struct link *l;
    switch (link_lock(fd, &l)) {
    case HAS_LINK:
        return link_unlock(l, receive_message(l, fd, message, flags));
    case LOST_LINK:
        return fails_with(EBADF);
    case NO_LINK:
        break;
    }
    return CALLED_BY_TENSORFLOW ? fails_with(EACCES) : real()->recvmsg(fd, message, flags);
}

/* ---- descriptors of which there must be no second one, and none in a program that is started ----
 */

/* Whether a command of `fcntl` may be given for a descriptor; if not, errno says why. */
static bool may_control(int fd, int command, const void *argument)
{
    if (!link_exists(fd)) {
        return true;
    }
    bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    bool passes_on = command == F_SETFD && ((uintptr_t)argument & FD_CLOEXEC) == 0;
    if (links_in_child()) {
        errno = EBADF;
        return false;
    }
    if (copies || passes_on) {
        errno = EOPNOTSUPP;
        return false;
    }
    return true;
}

EXPORTED int INTERPOSED(fcntl)(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return may_control(fd, command, argument) ? real()->fcntl(fd, command, argument) : -1;
}

EXPORTED int INTERPOSED(fcntl64)(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return may_control(fd, command, argument) ? real()->fcntl64(fd, command, argument) : -1;
}

EXPORTED int INTERPOSED(dup)(int fd)
{
    return link_exists(fd) ? refuse() : real()->dup(fd);
}

/* Whether one may be copied onto the other. A child may replace its dead copies. */
static bool may_replace(int fd, int to)
{
    return !link_exists(fd) && (!link_exists(to) || links_in_child());
}

EXPORTED int INTERPOSED(dup2)(int fd, int to)
{
    return may_replace(fd, to) ? real()->dup2(fd, to) : refuse();
}

EXPORTED int INTERPOSED(dup3)(int fd, int to, int flags)
{
    return may_replace(fd, to) ? real()->dup3(fd, to, flags) : refuse();
}

/* ---- what else could move bytes ---- */

EXPORTED ssize_t INTERPOSED(read)(int fd, void *bytes, size_t size)
{
    return link_exists(fd) ? refuse() : real()->read(fd, bytes, size);
}

EXPORTED ssize_t INTERPOSED(write)(int fd, const void *bytes, size_t size)
{
    return link_exists(fd) ? refuse() : real()->write(fd, bytes, size);
}

EXPORTED ssize_t INTERPOSED(readv)(int fd, const struct iovec *vectors, int count)
{
    return link_exists(fd) ? refuse() : real()->readv(fd, vectors, count);
}

EXPORTED ssize_t INTERPOSED(writev)(int fd, const struct iovec *vectors, int count)
{
    return link_exists(fd) ? refuse() : real()->writev(fd, vectors, count);
}

EXPORTED ssize_t INTERPOSED(sendfile)(int to, int from, off_t *at, size_t size)
{
    bool ours = link_exists(to) || link_exists(from);
    return ours ? refuse() : real()->sendfile(to, from, at, size);
}

EXPORTED ssize_t INTERPOSED(sendfile64)(int to, int from, off64_t *at, size_t size)
{
    bool ours = link_exists(to) || link_exists(from);
    return ours ? refuse() : real()->sendfile64(to, from, at, size);
}

EXPORTED ssize_t INTERPOSED(splice)(int from, off64_t *from_at, int to, off64_t *to_at, size_t size,
                                    unsigned flags)
{
    bool ours = link_exists(from) || link_exists(to);
    return ours ? refuse() : real()->splice(from, from_at, to, to_at, size, flags);
}

/* Of the calls that are for sockets only, TensorFlow may make none but those above, on any. */
#define IS_REFUSED(fd) (link_exists(fd) || CALLED_BY_TENSORFLOW)

EXPORTED int INTERPOSED(accept)(int fd, struct sockaddr *address, socklen_t *size)
{
    return IS_REFUSED(fd) ? refuse() : real()->accept(fd, address, size);
}

EXPORTED ssize_t INTERPOSED(recv)(int fd, void *bytes, size_t size, int flags)
{
    return IS_REFUSED(fd) ? refuse() : real()->recv(fd, bytes, size, flags);
}

EXPORTED ssize_t INTERPOSED(send)(int fd, const void *bytes, size_t size, int flags)
{
    return IS_REFUSED(fd) ? refuse() : real()->send(fd, bytes, size, flags);
}

EXPORTED ssize_t INTERPOSED(recvfrom)(int fd, void *bytes, size_t size, int flags,
                                      struct sockaddr *address, socklen_t *address_size)
{
    return IS_REFUSED(fd) ? refuse()
                          : real()->recvfrom(fd, bytes, size, flags, address, address_size);
}

EXPORTED ssize_t INTERPOSED(sendto)(int fd, const void *bytes, size_t size, int flags,
                                    const struct sockaddr *address, socklen_t address_size)
{
    return IS_REFUSED(fd) ? refuse()
                          : real()->sendto(fd, bytes, size, flags, address, address_size);
}

EXPORTED int INTERPOSED(sendmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    return IS_REFUSED(fd) ? refuse() : real()->sendmmsg(fd, messages, count, flags);
}

EXPORTED int INTERPOSED(recvmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags,
                                  struct timespec *timeout)
{
    return IS_REFUSED(fd) ? refuse() : real()->recvmmsg(fd, messages, count, flags, timeout);
}
