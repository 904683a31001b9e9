#define _GNU_SOURCE
#include "links.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "failing.h"
#include "real_calls.h"
#include "secret_memory.h"

enum { MAX_DESCRIPTOR = 65536 };

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct link *_Atomic table[MAX_DESCRIPTOR];
static struct link *newest, *port;
static int live;              /* links in memory */
static int unruly[MAX_NODES]; /* connections that were broken, by node */
static int own_node;          /* written before TensorFlow's first call */
static int notified = -1;     /* likewise */
static pid_t owner;           /* the process that all this is of */
static bool is_forked;        /* so this is another one */

/* ---- processes ---- */

void links_begin(int node, int socket)
{
    own_node = node;
    notified = socket;
    owner = getpid();
    is_forked = false;
}

int links_own_node(void)
{
    return own_node;
}

/* A child's memory may be the parent's (vfork), and the table locked for ever (a bare clone): it
   reads the table without the lock, and touches nothing. */
bool links_in_child(void)
{
    return is_forked || getpid() != owner;
}

static void before_fork(void)
{
    pthread_mutex_lock(&table_lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&table_lock);
}

/* Every call on a dead descriptor is EBADF, also one that passes this library by. */
static void after_fork_in_child(void)
{
    int dead = -1;
    if (newest != NULL) {
        dead = open("/", O_PATH | O_CLOEXEC);
        for (int fd = 0; fd < MAX_DESCRIPTOR; fd++) {
            if (!link_exists(fd)) {
                continue;
            }
            if (real()->dup3(dead, fd, O_CLOEXEC) < 0) {
                real()->close(fd);
            }
            atomic_store(&table[fd], NULL);
        }
    }
    if (dead >= 0) {
        real()->close(dead);
    }
    is_forked = true;
    newest = NULL;
    port = NULL;
    live = 0;
    pthread_mutex_unlock(&table_lock);
}

void links_survive_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- the table, and how long links live ---- */

bool link_exists(int fd)
{
    return fd >= 0 && fd < MAX_DESCRIPTOR && atomic_load(&table[fd]) != NULL;
}

/* A descriptor's link, with one reference more; NULL if there is none. */
static struct link *acquire(int fd)
{
    pthread_mutex_lock(&table_lock);
    struct link *l = atomic_load(&table[fd]);
    if (l != NULL) {
        l->references++;
    }
    pthread_mutex_unlock(&table_lock);
    return l;
}

/* Takes a link out of the list of all. The table's lock is held. */
static void unlist(struct link *l)
{
    struct link **at = &newest;
    while (*at != l) {
        at = &(*at)->older;
    }
    *at = l->older;
    live--;
}

/* Gives a reference back; the last one frees the link. No lock is held. */
static void release(struct link *l)
{
    pthread_mutex_lock(&table_lock);
    l->references--;
    bool last = l->references == 0;
    if (last) {
        unlist(l);
    }
    if (last && l->way_out >= 0) { /* no call uses it any more */
        atomic_store(&table[l->way_out], NULL);
        real()->shutdown(l->way_out, SHUT_RDWR); /* Python has the socket, too */
        real()->close(l->way_out);
    }
    pthread_mutex_unlock(&table_lock);
    if (last) {
        records_close(&l->records);
        pthread_mutex_destroy(&l->lock);
        secret_release(l, sizeof *l);
    }
}

/* Takes a link's descriptor away. The table's lock is held, and the caller has the table's
   reference from now on. Returns the descriptor. */
static int detach(struct link *l)
{
    int fd = l->fd;
    l->fd = -1;
    l->place = HELD;
    atomic_store(&table[fd], NULL);
    return fd;
}

/* Puts a link into the table by one of its descriptors. Returns the link that was there, whose
   descriptor was closed by a call that does not come here, and of which the caller has the table's
   reference from now on; NULL if there was none. The table's lock is held. */
static struct link *enter(struct link *l, int fd)
{
    struct link *stale = atomic_load(&table[fd]);
    bool held = stale != NULL && stale->fd >= 0; /* by the table */
    if (stale != NULL && stale->way_out == fd) {
        stale->way_out = -1; /* the number is another file's now */
    }
    if (held) {
        port = stale == port ? NULL : port;
        detach(stale);
    }
    atomic_store(&table[fd], l);
    return held ? stale : NULL;
}

/* Makes a link for a descriptor; NULL if there is no memory or no room. Its reference is the
   table's. No lock is held. */
static struct link *make(enum link_kind kind, int fd)
{
    if (fd < 0 || fd >= MAX_DESCRIPTOR || links_in_child()) {
        return NULL;
    }
    struct link *l = secret_allocate(sizeof *l);
    if (l == NULL) {
        return NULL;
    }
    l->kind = kind;
    l->fd = fd;
    l->way_out = -1;
    l->references = 1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_lock(&table_lock);
    struct link *stale = enter(l, fd);
    l->older = newest;
    newest = l;
    live++;
    pthread_mutex_unlock(&table_lock);
    if (stale != NULL) {
        release(stale);
    }
    return l;
}

bool link_make_raw(int fd)
{
    return make(RAW, fd) != NULL;
}

enum link_lookup link_lock(int fd, struct link **found)
{
    if (!link_exists(fd)) {
        return NO_LINK;
    }
    if (links_in_child()) {
        return LOST_LINK;
    }
    *found = acquire(fd);
    if (*found == NULL) {
        return NO_LINK;
    }
    pthread_mutex_lock(&(*found)->lock);
    return HAS_LINK;
}

ssize_t link_unlock(struct link *l, ssize_t result)
{
    int code = errno;
    pthread_mutex_unlock(&l->lock);
    release(l);
    errno = code;
    return result;
}

/* ---- what TensorFlow does with them ---- */

bool link_is_tensorflows(const struct link *l, int fd)
{
    return l->fd == fd && (l->place == DIALLED || l->place == ACCEPTED);
}

/* Whether a connection's peer has ended it, or it has broken. */
static bool has_ended(const struct link *l)
{
    struct pollfd end = {.fd = l->fd, .events = POLLRDHUP};
    return poll(&end, 1, 0) != 0;
}

/* A parked connection with a node that has not ended; NULL if there is none. The table's lock is
   held. */
static struct link *find_parked(int node)
{
    for (struct link *l = newest; l != NULL; l = l->older) {
        if (l->place == PARKED && l->node == node && !has_ended(l)) {
            return l;
        }
    }
    return NULL;
}

/* A connection with a node that has ended before TensorFlow had it; NULL if there is none. The
   table's lock is held. */
static struct link *find_ended(int node)
{
    for (struct link *l = newest; l != NULL; l = l->older) {
        bool waits = l->place == PARKED || l->place == QUEUED;
        if (waits && l->node == node && has_ended(l)) {
            return l;
        }
    }
    return NULL;
}

/* Closes the connections with a node that have ended before TensorFlow had them. No lock of those
   is held. */
static void close_ended(int node)
{
    struct link *l;
    do {
        pthread_mutex_lock(&table_lock);
        l = find_ended(node);
        if (l != NULL) {
            real()->close(detach(l));
        }
        pthread_mutex_unlock(&table_lock);
        if (l != NULL) {
            release(l);
        }
    } while (l != NULL);
}

ssize_t link_send(struct link *l, const struct iovec *vectors, size_t count)
{
    static const char filling[1024];
    if (l->way_out < 0) {
        return records_send(&l->records, l->fd, vectors, count);
    }
    ssize_t sent = records_send(&l->records, l->way_out, vectors, count);
    if (sent < 0 && errno == EAGAIN) {
        while (real()->send(l->fd, filling, sizeof filling, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        }
        errno = EAGAIN;
    }
    return sent;
}

void link_close_notify(struct link *l)
{
    if (l->kind == LINK) {
        records_close_notify(&l->records, l->way_out >= 0 ? l->way_out : l->fd);
    }
}

int link_shut_down(const struct link *l, int how)
{
    if (l->way_out >= 0) {
        real()->shutdown(l->way_out, how);
    }
    return real()->shutdown(l->fd, how);
}

int link_dial(struct link *raw, int node)
{
    unsigned char number[2] = {(unsigned char)(node >> 8), (unsigned char)node};
    if (raw->kind != RAW || raw->bound || raw->fd < 0 || node >= MAX_NODES) {
        return fails_with(EACCES);
    }
    close_ended(node);
    pthread_mutex_lock(&table_lock);
    struct link *l = find_parked(node);
    if (l != NULL && real()->dup3(l->fd, raw->fd, O_CLOEXEC) < 0) {
        l = NULL;
    }
    if (l != NULL) {
        real()->close(detach(l));
        l->fd = raw->fd;
        l->place = DIALLED;
        atomic_store(&table[l->fd], l);
        raw->fd = -1;
        raw->references--; /* the table's; the caller has one more */
    }
    pthread_mutex_unlock(&table_lock);
    /* Python makes the next one. */
    real()->send(notified, number, sizeof number, MSG_DONTWAIT | MSG_NOSIGNAL);
    return l != NULL ? 0 : fails_with(ECONNREFUSED);
}

int link_listen(struct link *raw)
{
    uint64_t one = 1;
    if (raw->kind != RAW || !raw->bound || raw->fd < 0) {
        return fails_with(EACCES);
    }
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int code = event < 0 ? errno : 0;
    pthread_mutex_lock(&table_lock);
    if (code == 0 && port != NULL) {
        code = EADDRINUSE;
    }
    if (code == 0 && real()->dup3(event, raw->fd, O_CLOEXEC) < 0) {
        code = errno;
    }
    if (code == 0) {
        raw->kind = PORT;
        port = raw;
        (void)!real()->write(raw->fd, &one, sizeof one); /* perhaps some wait already */
    }
    pthread_mutex_unlock(&table_lock);
    if (event >= 0) {
        real()->close(event);
    }
    return code == 0 ? 0 : fails_with(code);
}

int link_accept(struct link *at, int *node)
{
    uint64_t waiting;
    struct link *oldest = NULL;
    int fd = -1;
    if (at->kind != PORT) {
        return fails_with(EACCES);
    }
    pthread_mutex_lock(&table_lock);
    for (struct link *l = newest; l != NULL; l = l->older) {
        oldest = l->place == QUEUED ? l : oldest;
    }
    if (oldest != NULL) {
        oldest->place = ACCEPTED;
        *node = oldest->node;
        fd = oldest->fd;
    } else {
        (void)!real()->read(at->fd, &waiting, sizeof waiting);
    }
    pthread_mutex_unlock(&table_lock);
    return fd >= 0 ? fd : fails_with(EAGAIN);
}

int link_close(int fd)
{
    struct link *l;
    if (link_lock(fd, &l) != HAS_LINK) {
        return real()->close(fd); /* in a child, its copy */
    }
    if (l->fd == fd) {
        link_close_notify(l);
    }
    pthread_mutex_lock(&table_lock);
    bool ours = l->fd == fd; /* else another thread has just closed it, or it is a way out */
    int result;
    if (ours) {
        l->references--; /* the table's; this call has one more */
        result = real()->close(detach(l));
    } else {
        result = fails_with(EBADF);
    }
    if (l == port) {
        port = NULL;
    }
    pthread_mutex_unlock(&table_lock);
    return (int)link_unlock(l, result);
}

void link_note_used(struct link *l)
{
    if (l->used) {
        return;
    }
    pthread_mutex_lock(&table_lock);
    l->used = true;
    pthread_mutex_unlock(&table_lock);
}

void link_note_unruly(struct link *l)
{
    pthread_mutex_lock(&table_lock);
    unruly[l->node]++;
    pthread_mutex_unlock(&table_lock);
}

/* ---- what Python does with them ---- */

static ssize_t send_records(int fd, const void *bytes, size_t size, int flags)
{
    return real()->send(fd, bytes, size, flags);
}

static ssize_t receive_records(int fd, void *bytes, size_t size, int flags)
{
    return real()->recv(fd, bytes, size, flags);
}

static const struct record_calls record_calls = {send_records, receive_records};

bool links_hand_over(int fd, int way_out, int node, uint64_t incarnation, bool to_dial,
                     const unsigned char *sending, const unsigned char *receiving)
{
    uint64_t one = 1;
    struct link *stale = NULL;
    if (real()->fcntl(fd, F_SETFD, FD_CLOEXEC) || node < 0 || node >= MAX_NODES ||
        way_out >= MAX_DESCRIPTOR ||
        (way_out >= 0 && real()->fcntl(way_out, F_SETFD, FD_CLOEXEC))) {
        return false;
    }
    struct link *l = make(LINK, fd);
    if (l == NULL) {
        return false;
    }
    bool good = records_open(&l->records, &record_calls, sending, receiving);
    pthread_mutex_lock(&table_lock);
    if (good && way_out >= 0) {
        stale = enter(l, way_out);
        l->way_out = way_out;
    }
    l->node = node;
    l->incarnation = incarnation;
    l->place = to_dial ? PARKED : QUEUED;
    if (!good) {
        detach(l); /* and leaves the descriptor to the caller */
    } else if (!to_dial && port != NULL) {
        (void)!real()->write(port->fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&table_lock);
    if (stale != NULL) {
        release(stale);
    }
    if (!good) {
        release(l);
    }
    return good;
}

void links_cut(int node, uint64_t incarnation)
{
    pthread_mutex_lock(&table_lock);
    for (struct link *l = newest; l != NULL; l = l->older) {
        bool other = incarnation == 0 || l->incarnation != incarnation;
        if (l->place != HELD && l->node == node && other) {
            link_shut_down(l, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&table_lock);
}

int links_count(int node, bool given)
{
    int count = 0;
    close_ended(node);
    pthread_mutex_lock(&table_lock);
    for (struct link *l = newest; l != NULL; l = l->older) {
        bool counts = given ? l->place == QUEUED || l->place == ACCEPTED : l->place == PARKED;
        if (l->node == node && !l->used && counts) {
            count++;
        }
    }
    if (node < 0) {
        count = live;
    }
    pthread_mutex_unlock(&table_lock);
    return count;
}

int links_unruly(int node)
{
    pthread_mutex_lock(&table_lock);
    int count = unruly[node];
    unruly[node] = 0;
    pthread_mutex_unlock(&table_lock);
    return count;
}
