// Owned drive: in each round of libuv's loop JavaScript is called, waits inside the ring for as long
// as libuv itself would have waited, and is called again at once while it answers true.
#pragma once

#include <cstdint>
#include <memory>

#include "libuv.h"
#include "loop_callback.h"

namespace pacioli {

// Shared, because the callback may close the ring that it was called for.
class OwnedLoop : public std::enable_shared_from_this<OwnedLoop> {
 public:
  // Returns 0 or a negative errno.
  static int create(Napi::Env env, Napi::Function callback, std::shared_ptr<OwnedLoop>* out);
  ~OwnedLoop();
  OwnedLoop(const OwnedLoop&) = delete;
  OwnedLoop& operator=(const OwnedLoop&) = delete;

  // Becomes readable when libuv has something to do.
  int fd() const { return uv_backend_fd(loop_); }

  // `wait_ms`, or less: until libuv's next timer is due, not at all when it has work.
  uint32_t shorten(uint32_t wait_ms);

 private:
  OwnedLoop(Napi::Env env, Napi::Function callback, uv_loop_t* loop)
      : callback_(env, callback), loop_(loop) {}
  static void on_check(uv_check_t* handle);

  LoopCallback callback_;
  uv_loop_t* const loop_;
  // After libuv has polled, in each round.
  uv_check_t* check_ = nullptr;
  // While it is active, libuv polls without waiting.
  uv_idle_t* idle_ = nullptr;
};

}  // namespace pacioli
