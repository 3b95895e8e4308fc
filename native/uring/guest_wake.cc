#include "guest_wake.h"

#include <cerrno>

#include <sys/eventfd.h>
#include <unistd.h>

namespace pacioli {

int GuestWake::create(Napi::Env env, Napi::Function callback, std::shared_ptr<GuestWake>* out) {
  uv_loop_t* loop = nullptr;
  CHECK(napi_get_uv_event_loop(env, &loop) == napi_ok);
  std::shared_ptr<GuestWake> wake(new GuestWake(env, callback));
  wake->fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake->fd_ < 0) return -errno;

  uv_poll_t* poll = handle_allocate<uv_poll_t>();
  if (const int error = uv_poll_init(loop, poll, wake->fd_)) {
    std::free(poll);  // Not libuv's yet.
    return error;
  }
  wake->poll_ = poll;
  uv_handle_set_data(as_handle(poll), wake.get());
  if (const int error = uv_poll_start(poll, uv_readable, on_readable)) return error;
  *out = std::move(wake);
  return 0;
}

GuestWake::~GuestWake() {
  handle_close(poll_);
  if (fd_ >= 0) close(fd_);
}

void GuestWake::on_readable(uv_poll_t* handle, int, int) {
  void* data = uv_handle_get_data(as_handle(handle));
  if (data == nullptr) return;
  const std::shared_ptr<GuestWake> wake = static_cast<GuestWake*>(data)->shared_from_this();
  uint64_t count;
  // EAGAIN: an earlier round has emptied it already, and there is nothing to do.
  if (read(wake->fd_, &count, sizeof(count)) != sizeof(count)) return;
  wake->callback_.call();
}

}  // namespace pacioli
