#include "sockets.h"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

namespace pacioli {
namespace {

constexpr int keepalive_idle_s = 5;
constexpr int keepalive_interval_s = 4;
constexpr int keepalive_probes = 3;
constexpr int user_timeout_ms = 17'000;
constexpr int buffer_bytes = 4 * 1024 * 1024;

static_assert(sizeof(sockaddr_in) <= address_bytes_max);
static_assert(sizeof(sockaddr_in6) <= address_bytes_max);

int set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : -errno;
}

// The plain options are capped by the system's maximum and end the kernel's own tuning, so a
// process without the right to exceed the cap is better off with the tuning.
void set_buffers(int fd) {
#if defined(SO_RCVBUFFORCE)
  static_cast<void>(set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes));
  static_cast<void>(set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes));
#else
  static_cast<void>(fd);
#endif
}

int listen_on(int fd, const uint8_t* address, uint32_t address_bytes, int backlog) {
  if (const int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return error;
  set_buffers(fd);  // Before listen: connections inherit the window scale.
  if (bind(fd, reinterpret_cast<const sockaddr*>(address), address_bytes) != 0) return -errno;
  return listen(fd, backlog) == 0 ? 0 : -errno;
}

}  // namespace

int address_parse(const char* host, uint16_t port, uint8_t (&target)[address_bytes_max]) {
  std::memset(target, 0, sizeof(target));
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
    std::memcpy(target, &v4, sizeof(v4));
    return sizeof(v4);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
    std::memcpy(target, &v6, sizeof(v6));
    return sizeof(v6);
  }
  return -EINVAL;
}

int socket_open(const uint8_t (&address)[address_bytes_max]) {
  sockaddr generic;
  std::memcpy(&generic, address, sizeof(generic));
  const int fd = socket(generic.sa_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  return fd < 0 ? -errno : fd;
}

int socket_configure(int fd) {
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return error;
  if (const int error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle_s)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval_s)) {
    return error;
  }
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, keepalive_probes)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms)) {
    return error;
  }
  set_buffers(fd);
  return 0;
}

int socket_listen(const uint8_t (&address)[address_bytes_max], uint32_t address_bytes,
                  int backlog) {
  const int fd = socket_open(address);
  if (fd < 0) return fd;
  if (const int error = listen_on(fd, address, address_bytes, backlog)) {
    close(fd);
    return error;
  }
  return fd;
}

int socket_shutdown(int fd) { return shutdown(fd, SHUT_RDWR) == 0 ? 0 : -errno; }

int socket_port(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return -errno;
  switch (address.ss_family) {
    case AF_INET:
      return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    case AF_INET6:
      return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
    default:
      return -EAFNOSUPPORT;
  }
}

}  // namespace pacioli
