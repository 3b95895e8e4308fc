#include "guest_wake.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <sys/eventfd.h>
#include <unistd.h>

#include "../check.h"

namespace pacioli {

GuestWake::GuestWake(Napi::Env env, Napi::Function callback)
    : env_(env), callback_(Napi::Persistent(callback)), context_(env, "pacioli.ring") {}

int GuestWake::create(Napi::Env env, Napi::Function callback, std::shared_ptr<GuestWake>* out) {
  uv_loop_t* loop = nullptr;
  CHECK(napi_get_uv_event_loop(env, &loop) == napi_ok);
  CHECK(std::strcmp(uv_handle_type_name(uv_poll_type), "poll") == 0);

  std::shared_ptr<GuestWake> wake(new GuestWake(env, callback));
  wake->fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake->fd_ < 0) return -errno;

  uv_poll_t* poll = static_cast<uv_poll_t*>(std::calloc(1, uv_handle_size(uv_poll_type)));
  CHECK(poll != nullptr);
  const int error = uv_poll_init(loop, poll, wake->fd_);
  if (error != 0) {
    std::free(poll);
    return error;
  }
  wake->poll_ = poll;
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(poll), wake.get());
  if (const int start_error = uv_poll_start(poll, uv_readable, on_readable)) return start_error;
  *out = std::move(wake);
  return 0;
}

GuestWake::~GuestWake() {
  if (poll_ != nullptr) {
    uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(poll_);
    uv_handle_set_data(handle, nullptr);
    // libuv holds the handle until its loop has turned once more.
    uv_close(handle, [](uv_handle_t* closed) { std::free(closed); });
  }
  if (fd_ >= 0) close(fd_);
}

void GuestWake::on_readable(uv_poll_t* handle, int, int) {
  void* data = uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle));
  if (data == nullptr) return;
  auto* self = static_cast<GuestWake*>(data);
  uint64_t count;
  // EAGAIN: an earlier turn has emptied it already, and there is nothing to do.
  if (read(self->fd_, &count, sizeof(count)) != sizeof(count)) return;
  const Napi::Env env = self->env_;
  Napi::HandleScope scope(env);
  const std::shared_ptr<GuestWake> wake = self->shared_from_this();
  wake->callback_.MakeCallback(env.Global(), 0, nullptr, wake->context_);
  if (env.IsExceptionPending()) {
    napi_fatal_exception(env, env.GetAndClearPendingException().Value());
  }
}

}  // namespace pacioli
