// Owned drive: what must end a wait inside the ring, so that libuv's events and timers are served.
#pragma once

#include <cstdint>
#include <memory>

#include <napi.h>

#include "libuv.h"

namespace pacioli {

class LoopWait {
 public:
  // Returns 0 or a negative errno.
  static int create(Napi::Env env, std::unique_ptr<LoopWait>* out);
  ~LoopWait();
  LoopWait(const LoopWait&) = delete;
  LoopWait& operator=(const LoopWait&) = delete;

  // Becomes readable when libuv has something to do.
  int fd() const;

  // `wait_ms`, or less when a timer of libuv's is due before.
  uint32_t shorten(uint32_t wait_ms);

 private:
  explicit LoopWait(uv_loop_t* loop) : loop_(loop) {}

  uv_loop_t* const loop_;
  // A loop without an active handle counts as ended, and libuv then names no time to wait; the ring
  // is active, so it is represented by a handle that does nothing.
  uv_handle_t* presence_ = nullptr;
};

}  // namespace pacioli
