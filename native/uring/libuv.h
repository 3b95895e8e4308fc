// The few libuv functions that the ring needs. Node exports them from its own binary, but an
// install has no <uv.h>; libuv keeps this interface stable within version 1, and sizes of handles
// are asked for at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../check.h"

extern "C" {

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_check_s uv_check_t;
typedef struct uv_idle_s uv_idle_t;
typedef struct uv_poll_s uv_poll_t;

typedef void (*uv_check_cb)(uv_check_t* handle);
typedef void (*uv_idle_cb)(uv_idle_t* handle);
typedef void (*uv_poll_cb)(uv_poll_t* handle, int status, int events);
typedef void (*uv_close_cb)(uv_handle_t* handle);

int uv_backend_fd(const uv_loop_t* loop);
int uv_backend_timeout(const uv_loop_t* loop);
void uv_update_time(uv_loop_t* loop);

size_t uv_handle_size(int type);
const char* uv_handle_type_name(int type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
void uv_close(uv_handle_t* handle, uv_close_cb on_close);

int uv_check_init(uv_loop_t* loop, uv_check_t* handle);
int uv_check_start(uv_check_t* handle, uv_check_cb on_check);
int uv_idle_init(uv_loop_t* loop, uv_idle_t* handle);
int uv_idle_start(uv_idle_t* handle, uv_idle_cb on_idle);
int uv_idle_stop(uv_idle_t* handle);
int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, uv_poll_cb on_event);

}  // extern "C"

namespace pacioli {

constexpr int uv_readable = 1;

// Values of uv_handle_type, and the names that libuv has for them.
template <class Handle>
struct HandleType;
template <>
struct HandleType<uv_check_t> {
  static constexpr int type = 2;
  static constexpr const char* name = "check";
};
template <>
struct HandleType<uv_idle_t> {
  static constexpr int type = 6;
  static constexpr const char* name = "idle";
};
template <>
struct HandleType<uv_poll_t> {
  static constexpr int type = 8;
  static constexpr const char* name = "poll";
};

// Memory for a handle, owned by libuv from its initialisation until it has been closed.
template <class Handle>
Handle* handle_allocate() {
  using Type = HandleType<Handle>;
  CHECK(std::strcmp(uv_handle_type_name(Type::type), Type::name) == 0);
  void* memory = std::calloc(1, uv_handle_size(Type::type));
  CHECK(memory != nullptr);
  return static_cast<Handle*>(memory);
}

template <class Handle>
uv_handle_t* as_handle(Handle* handle) {
  return reinterpret_cast<uv_handle_t*>(handle);
}

// libuv holds the handle until its loop has turned once more.
template <class Handle>
void handle_close(Handle* handle) {
  if (handle == nullptr) return;
  uv_handle_set_data(as_handle(handle), nullptr);
  uv_close(as_handle(handle), [](uv_handle_t* closed) { std::free(closed); });
}

}  // namespace pacioli
