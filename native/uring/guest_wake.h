// Guest drive: the kernel adds to an eventfd when completions wait, libuv watches the eventfd, and
// JavaScript is called. Watching the ring's own descriptor would never wake: with deferred task
// work, completions appear only once this thread asks for them.
#pragma once

#include <memory>

#include "libuv.h"
#include "loop_callback.h"

namespace pacioli {

// Shared, because the callback may close the ring that it was called for.
class GuestWake : public std::enable_shared_from_this<GuestWake> {
 public:
  // Watches a new eventfd and calls `callback` when it was added to. Returns 0 or a negative errno.
  static int create(Napi::Env env, Napi::Function callback, std::shared_ptr<GuestWake>* out);
  ~GuestWake();
  GuestWake(const GuestWake&) = delete;
  GuestWake& operator=(const GuestWake&) = delete;

  int eventfd() const { return fd_; }

 private:
  GuestWake(Napi::Env env, Napi::Function callback) : callback_(env, callback) {}
  static void on_readable(uv_poll_t* handle, int status, int events);

  LoopCallback callback_;
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;
};

}  // namespace pacioli
