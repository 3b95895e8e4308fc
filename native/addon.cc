// Entry point of the addon, and the layouts that JavaScript compares with its own.
#include "addon.h"

#include "check.h"
#include "layout.h"
#include "sorted_runs/entry.h"
#include "sorted_runs/filter.h"
#include "sorted_runs/merge.h"
#include "sorted_runs/probe.h"

namespace pacioli {
namespace {

// Names as in src/native/layout.ts.
void export_layout(Napi::Env env, Napi::Object exports) {
  Napi::Object layout = Napi::Object::New(env);
  const auto put = [&](const char* name, size_t value) {
    layout.Set(name, static_cast<uint32_t>(value));
  };
  put("version", addon_version);
  put("pageSize", page_size);

  put("descriptorSize", sizeof(Descriptor));
  put("descriptorOpcode", offsetof(Descriptor, opcode));
  put("descriptorHandle", offsetof(Descriptor, handle));
  put("descriptorBufferId", offsetof(Descriptor, buffer_id));
  put("descriptorBufferAt", offsetof(Descriptor, buffer_at));
  put("descriptorLength", offsetof(Descriptor, length));
  put("descriptorOffsetLow", offsetof(Descriptor, offset_low));
  put("descriptorOffsetHigh", offsetof(Descriptor, offset_high));
  put("descriptorFlags", offsetof(Descriptor, flags));
  put("descriptorExtra", offsetof(Descriptor, extra));

  put("completionSize", sizeof(CompletionEntry));
  put("completionSlot", offsetof(CompletionEntry, slot));
  put("completionResult", offsetof(CompletionEntry, result));
  put("completionDurationUs", offsetof(CompletionEntry, duration_us));

  put("controlSize", sizeof(Control));
  put("controlQueueHead", offsetof(Control, queue_head));
  put("controlQueueTail", offsetof(Control, queue_tail));
  put("controlWake", offsetof(Control, wake));
  put("controlSystemCalls", offsetof(Control, system_calls));
  put("controlInKernel", offsetof(Control, in_kernel));
  put("controlPressure", offsetof(Control, pressure));

  put("opcodeNop", opcode::nop);
  put("opcodeRead", opcode::read);
  put("opcodeWrite", opcode::write);
  put("opcodeSync", opcode::sync);
  put("opcodeAccept", opcode::accept);
  put("opcodeConnect", opcode::connect);
  put("opcodeReceive", opcode::receive);
  put("opcodeSend", opcode::send);
  put("opcodeShutdown", opcode::shutdown);
  put("opcodeClose", opcode::close);
  put("opcodeTimeout", opcode::timeout);
  put("opcodeCancel", opcode::cancel);
  put("opcodePoll", opcode::poll);

  put("flagDurable", flag::durable);
  put("flagFixedFile", flag::fixed_file);
  put("flagWhole", flag::whole);

  put("entryWordsShort", entry_words_short);
  put("entryWordsLong", entry_words_long);
  put("mergeInputsMax", merge_inputs_max);
  put("filterWords", filter_words);
  put("filterIdsMax", filter_ids_max);
  put("probeRunsMax", probe_runs_max);
  put("probeScratchWords", probe_scratch_words);
  put("candidateWords", candidate_words);
  exports.Set("layout", layout);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  const napi_status status = napi_set_instance_data(
      env, data, [](napi_env, void* held, void*) { delete static_cast<AddonData*>(held); },
      nullptr);
  CHECK(status == napi_ok);
  export_layout(env, exports);
  export_checksum(env, exports);
  export_system(env, exports);
  export_sorted_runs(env, exports);
#if defined(__linux__)
  export_rings(env, exports);
#endif
  return exports;
}

}  // namespace

AddonData& addon_data(napi_env env) {
  void* data = nullptr;
  CHECK(napi_get_instance_data(env, &data) == napi_ok);
  CHECK(data != nullptr);
  return *static_cast<AddonData*>(data);
}

void set_function(napi_env env, Napi::Object exports, const char* name, napi_callback function) {
  napi_value value;
  CHECK(napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value) == napi_ok);
  CHECK(napi_set_named_property(env, exports, name, value) == napi_ok);
}

NODE_API_MODULE(pacioli, init)

}  // namespace pacioli
