/* The calls of TensorFlow's gRPC on sockets, as this library answers them. */
#ifndef COTERIE_SOCKETS_H
#define COTERIE_SOCKETS_H

#include <stdbool.h>

/* All else is hidden from other files of the process (-fvisibility=hidden). */
#define EXPORTED __attribute__((visibility("default")))

/* From now on callers in files below `folder` are TensorFlow; all callers if it is empty. Returns
   false if that was done already, or the path is too long. The rest is for `links_begin`. */
bool sockets_arm(const char *folder, int own_node, int notified);

#endif
