#include "loop_wait.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../check.h"

namespace pacioli {

int LoopWait::create(Napi::Env env, std::unique_ptr<LoopWait>* out) {
  uv_loop_t* loop = nullptr;
  CHECK(napi_get_uv_event_loop(env, &loop) == napi_ok);
  CHECK(std::strcmp(uv_handle_type_name(uv_async_type), "async") == 0);
  std::unique_ptr<LoopWait> wait(new LoopWait(loop));
  void* presence = std::calloc(1, uv_handle_size(uv_async_type));
  CHECK(presence != nullptr);
  const int error = uv_async_init(loop, static_cast<uv_async_t*>(presence), [](uv_async_t*) {});
  if (error != 0) {
    std::free(presence);
    return error;
  }
  wait->presence_ = static_cast<uv_handle_t*>(presence);
  *out = std::move(wait);
  return 0;
}

LoopWait::~LoopWait() {
  // libuv holds the handle until its loop has turned once more.
  if (presence_ != nullptr) uv_close(presence_, [](uv_handle_t* closed) { std::free(closed); });
}

int LoopWait::fd() const { return uv_backend_fd(loop_); }

uint32_t LoopWait::shorten(uint32_t wait_ms) {
  uv_update_time(loop_);  // Its time is that of the last poll; timers count from it.
  const int timeout_ms = uv_backend_timeout(loop_);
  return timeout_ms < 0 ? wait_ms : std::min(wait_ms, static_cast<uint32_t>(timeout_ms));
}

}  // namespace pacioli
