// Sockets as far as they are made outside the ring: once per connection or listener. Results are
// 0 or more, or a negative errno.
#pragma once

#include <cstdint>

#include <sys/socket.h>

namespace pacioli {

// Fits the `extra` words of a descriptor.
constexpr uint32_t address_bytes_max = 32;

// Turns a numeric IPv4 or IPv6 address into a socket address at `target` and returns its length;
// -EINVAL for anything else. Names are not looked up: that would block.
int address_parse(const char* host, uint16_t port, uint8_t (&target)[address_bytes_max]);

// A TCP socket for an address of address_parse.
int socket_open(const uint8_t (&address)[address_bytes_max]);

// Options of a connection: no delay, keepalive, timeout of unacknowledged data, buffers.
int socket_configure(int fd);

// A listening socket.
int socket_listen(const uint8_t (&address)[address_bytes_max], uint32_t address_bytes,
                  int backlog);

// Ends both directions, so that operations that are blocked on the socket end.
int socket_shutdown(int fd);

// The port to which a socket is bound.
int socket_port(int fd);

}  // namespace pacioli
