/* What Python calls (tensorflow/native.py), and what is done when the library is loaded. */
#define _GNU_SOURCE
#include <openssl/crypto.h>

#include "links.h"
#include "real_calls.h"
#include "records.h"
#include "sockets.h"

__attribute__((constructor)) static void begin(void)
{
    (void)real();
    records_initialize();
    links_survive_forks();
}

/* The digest of the sources; native_library.py sets it. */
EXPORTED const char *coterie_source_digest(void)
{
    return SOURCE_DIGEST;
}

/* The version of the OpenSSL that seals and opens records. */
EXPORTED const char *coterie_openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}

/* What it uses of the processor. */
EXPORTED const char *coterie_openssl_processor(void)
{
    return OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS);
}

/* Whether every interposed call, looked up now, comes here. */
EXPORTED int coterie_in_front(void)
{
    return calls_in_front();
}

/* From now on callers in files below `folder` are TensorFlow; `notified`, a socket, gets a node's
   number (2 bytes, big-endian) whenever they dial it. 0; -1: it is armed already, or an argument is
   out of its range. Called by one thread. */
EXPORTED int coterie_arm(const char *folder, int node, int notified)
{
    bool is_node = node >= 0 && node < MAX_NODES;
    return is_node && sockets_arm(folder, node, notified) ? 0 : -1;
}

/* Gives a connection to TensorFlow, to dial with or to accept. Python has shaken hands on it and
   judged the peer, and neither has sent anything since. `way_out`: a second descriptor, by which
   sealed records leave (links.h); -1: none. The secrets, 32 bytes each, are those of its traffic
   under TLS_AES_128_GCM_SHA256. 0: the descriptors are taken; -1: they are not. */
EXPORTED int coterie_hand_over(int fd, int way_out, int node, uint64_t incarnation, int to_dial,
                               const unsigned char *sending, const unsigned char *receiving)
{
    return links_hand_over(fd, way_out, node, incarnation, to_dial != 0, sending, receiving) ? 0
                                                                                             : -1;
}

/* Breaks every connection with a node, but not those with one incarnation of it (0: all). */
EXPORTED void coterie_cut(int node, uint64_t incarnation)
{
    links_cut(node, incarnation);
}

/* How many connections with a node are parked; or, if `given`, have been given to TensorFlow to
   accept without the node having sent anything. For node -1: all links. */
EXPORTED int coterie_count(int node, int given)
{
    return links_count(node, given != 0);
}

/* How many connections with a node were broken, since it was last asked, because of what came
   without data. */
EXPORTED int coterie_unruly(int node)
{
    return links_unruly(node);
}
