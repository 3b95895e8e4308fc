#include "owned_loop.h"

#include <algorithm>

namespace pacioli {
namespace {

// Turns taken while there is more to submit, before libuv goes round: a round of libuv's costs a
// microsecond, which a chain of short operations would pay at every step.
constexpr int turns_max = 8;

void on_idle(uv_idle_t*) {}

}  // namespace

int OwnedLoop::create(Napi::Env env, Napi::Function callback, std::shared_ptr<OwnedLoop>* out) {
  uv_loop_t* loop = nullptr;
  CHECK(napi_get_uv_event_loop(env, &loop) == napi_ok);
  std::shared_ptr<OwnedLoop> owned(new OwnedLoop(env, callback, loop));
  owned->check_ = handle_allocate<uv_check_t>();
  owned->idle_ = handle_allocate<uv_idle_t>();
  // These four only link the handle into a list: they cannot fail.
  CHECK(uv_check_init(loop, owned->check_) == 0);
  CHECK(uv_idle_init(loop, owned->idle_) == 0);
  uv_handle_set_data(as_handle(owned->check_), owned.get());
  CHECK(uv_check_start(owned->check_, on_check) == 0);
  CHECK(uv_idle_start(owned->idle_, on_idle) == 0);
  *out = std::move(owned);
  return 0;
}

OwnedLoop::~OwnedLoop() {
  handle_close(check_);
  handle_close(idle_);
}

void OwnedLoop::on_check(uv_check_t* handle) {
  void* data = uv_handle_get_data(as_handle(handle));
  if (data == nullptr) return;
  const std::shared_ptr<OwnedLoop> owned = static_cast<OwnedLoop*>(data)->shared_from_this();
  for (int turn = 0; turn < turns_max && owned->callback_.call(); turn += 1) {
  }
}

uint32_t OwnedLoop::shorten(uint32_t wait_ms) {
  // libuv's time is that of its last poll; timers count from it.
  uv_update_time(loop_);
  // Without the handle that keeps libuv from waiting, it says how long it would. It is 0 while
  // setImmediate callbacks or closing handles wait.
  CHECK(uv_idle_stop(idle_) == 0);
  const int timeout_ms = uv_backend_timeout(loop_);
  CHECK(uv_idle_start(idle_, on_idle) == 0);
  return timeout_ms < 0 ? wait_ms : std::min(wait_ms, static_cast<uint32_t>(timeout_ms));
}

}  // namespace pacioli
