// The addon's parts, put together in addon.cc.
#pragma once

#include <memory>

#include <napi.h>

#include "memory.h"

namespace pacioli {

struct Rings;  // uring/addon_ring.cc

// One per environment (the main thread, or a worker): freed when the environment ends. Wrapped
// buffers share the registry, since their finalizers may run later still.
struct AddonData {
  std::shared_ptr<BufferRegistry> buffers = std::make_shared<BufferRegistry>();
  std::shared_ptr<Rings> rings;
  uint32_t* clock_words = nullptr;
};

AddonData& addon_data(napi_env env);

// The whole of a buffer as an ArrayBuffer that frees it when collected; null when the runtime
// allows no external memory, or none so long: then the buffer is given back.
napi_value wrap_buffer(napi_env env, AddonData& data, uint32_t id);

void set_function(napi_env env, Napi::Object exports, const char* name, napi_callback function);

void export_checksum(Napi::Env env, Napi::Object exports);
void export_system(Napi::Env env, Napi::Object exports);
void export_sorted_runs(Napi::Env env, Napi::Object exports);
void export_rings(Napi::Env env, Napi::Object exports);

}  // namespace pacioli
