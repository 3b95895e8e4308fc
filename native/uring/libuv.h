// The few libuv functions that the ring needs. Node exports them from its own binary, but an
// install has no <uv.h>; libuv keeps this interface stable within version 1, and sizes of handles
// are asked for at run time.
#pragma once

#include <cstddef>

extern "C" {

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_async_s uv_async_t;

typedef void (*uv_poll_cb)(uv_poll_t* handle, int status, int events);
typedef void (*uv_async_cb)(uv_async_t* handle);
typedef void (*uv_close_cb)(uv_handle_t* handle);

int uv_backend_fd(const uv_loop_t* loop);
int uv_backend_timeout(const uv_loop_t* loop);
void uv_update_time(uv_loop_t* loop);

size_t uv_handle_size(int type);
const char* uv_handle_type_name(int type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
void uv_close(uv_handle_t* handle, uv_close_cb on_close);

int uv_async_init(uv_loop_t* loop, uv_async_t* handle, uv_async_cb on_sent);
int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, uv_poll_cb on_event);

}  // extern "C"

namespace pacioli {
// UV_ASYNC and UV_POLL of uv_handle_type; checked by name where they are used.
constexpr int uv_async_type = 1;
constexpr int uv_poll_type = 8;
constexpr int uv_readable = 1;
}  // namespace pacioli
