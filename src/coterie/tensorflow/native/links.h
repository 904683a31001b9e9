/* The descriptors that this library has a part in, and the connections behind them.

   A descriptor is RAW, a socket that TensorFlow has made; PORT, the one that it listens on (an
   eventfd, readable while a connection waits); or LINK, a TLS connection. Python makes connections,
   shakes hands on them, judges the peer, and hands them over: PARKED for TensorFlow to dial with,
   or QUEUED for it to accept.

   Calls of a peer may be inspected on their way to TensorFlow. Then the descriptor is one end of a
   socket pair, through which Python passes on what the peer sends, and what TensorFlow sends goes
   to the peer by a descriptor of its own, the way out. When that takes no more, the pair is filled,
   so that TensorFlow waits for it; Python empties it once the way out takes some again.

   The table's lock guards the table of descriptors, the list of links, their counts and places. A
   link's own lock guards its records. Whoever needs both takes the link's first. Functions take
   the table's lock by themselves, and hold it for a short time: no call on the kernel that they
   make under it waits.

   A child process has no part in any of it: its copies of descriptors are dead, its copies of
   secrets zeroes. */
#ifndef COTERIE_LINKS_H
#define COTERIE_LINKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "records.h"

enum { MAX_NODES = 1025 };

enum link_kind { RAW, PORT, LINK };

enum link_place {
    HELD,     /* in no list: raw sockets, the port, and what has no descriptor any more */
    PARKED,   /* waits for TensorFlow to dial */
    DIALLED,  /* TensorFlow's */
    QUEUED,   /* waits for TensorFlow to accept */
    ACCEPTED, /* TensorFlow's */
};

struct link {
    enum link_kind kind;
    enum link_place place;
    int fd;               /* -1: none any more */
    int way_out;          /* where sealed records go in place of `fd`; -1: to `fd` */
    int node;             /* the peer's index among the contract's nodes */
    int references;       /* the table's, and one for each call that uses it */
    uint64_t incarnation; /* the peer's */
    pthread_mutex_t lock;
    bool bound;             /* TensorFlow has bound the socket to the virtual port */
    bool used;              /* the peer has sent something */
    struct link *older;     /* in the list of all */
    struct records records; /* the last member: see secret_memory.h */
};

/* What a descriptor is to a call that was made with it. */
enum link_lookup {
    NO_LINK,   /* nothing of this library's */
    LOST_LINK, /* one of the parent's, and this is a child */
    HAS_LINK,
};

/* Begins in this process. `own_node`: this node's index among the contract's nodes. `notified`: a
   socket that gets a node's number, 2 bytes big-endian, whenever TensorFlow dials it. */
void links_begin(int own_node, int notified);

/* Has fork() find the table in order, and leave the child dead descriptors. */
void links_survive_forks(void);

/* This node's index among the contract's nodes. */
int links_own_node(void);

/* Whether this process is a child of the one that `links_begin` was called in. */
bool links_in_child(void);

/* Whether a descriptor is in the table. Takes no lock. */
bool link_exists(int fd);

/* Finds a descriptor's link; with HAS_LINK it is locked, and `link_unlock` is due. */
enum link_lookup link_lock(int fd, struct link **found);

/* Unlocks a link, and keeps errno. Returns `result`: what the call gives that had locked it. */
ssize_t link_unlock(struct link *l, ssize_t result);

/* Makes a RAW link for a socket, and returns whether there was memory and room in the table. */
bool link_make_raw(int fd);

/* Whether TensorFlow has a locked link by this descriptor, and not Python still. */
bool link_is_tensorflows(const struct link *l, int fd);

/* Sends what the vectors hold by a locked link, as `records_send` does. */
ssize_t link_send(struct link *l, const struct iovec *vectors, size_t count);

/* Says close_notify to the peer of a locked link. */
void link_close_notify(struct link *l);

/* Shuts a locked link's descriptors down, as `shutdown` does. */
int link_shut_down(const struct link *l, int how);

/* Puts a parked connection with a node into the place of a locked RAW link, of which epoll has not
   been told yet. 0, or -1 and errno: EACCES, or ECONNREFUSED if none is parked. */
int link_dial(struct link *raw, int node);

/* Makes a locked RAW link the port. 0, or -1 and errno. */
int link_listen(struct link *raw);

/* Takes the oldest queued connection from the locked port. Returns its descriptor and its peer's
   node; or -1 and errno: EAGAIN if none waits. */
int link_accept(struct link *port, int *node);

/* Closes a descriptor with close_notify, if it has a link. 0, or -1 and errno. */
int link_close(int fd);

/* The peer of a locked link has sent something. */
void link_note_used(struct link *l);

/* A locked link was broken because of what its peer sent. */
void link_note_unruly(struct link *l);

/* What `coterie_hand_over`, `coterie_cut`, `coterie_count` and `coterie_unruly` do. */
bool links_hand_over(int fd, int way_out, int node, uint64_t incarnation, bool to_dial,
                     const unsigned char *sending, const unsigned char *receiving);
void links_cut(int node, uint64_t incarnation);
int links_count(int node, bool given);
int links_unruly(int node);

#endif
