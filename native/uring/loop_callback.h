// A JavaScript function that libuv's loop calls.
#pragma once

#include <napi.h>

namespace pacioli {

class LoopCallback {
 public:
  LoopCallback(Napi::Env env, Napi::Function function)
      : env_(env), function_(Napi::Persistent(function)), context_(env, "pacioli.ring") {}

  // Calls the function, then runs microtasks and what process.nextTick has. Returns whether the
  // function returned true; what it throws is an uncaught exception.
  bool call() {
    Napi::HandleScope scope(env_);
    const Napi::Value result = function_.MakeCallback(env_.Global(), 0, nullptr, context_);
    if (env_.IsExceptionPending()) {
      napi_fatal_exception(env_, env_.GetAndClearPendingException().Value());
      return false;
    }
    bool again = false;
    return napi_get_value_bool(env_, result, &again) == napi_ok && again;
  }

 private:
  const Napi::Env env_;
  Napi::FunctionReference function_;
  Napi::AsyncContext context_;
};

}  // namespace pacioli
