// Memory, files and clocks for JavaScript.
#include "addon.h"
#include "clocks.h"
#include "files.h"
#include "values.h"

namespace pacioli {
namespace {

// What a wrapped buffer needs when it is collected.
struct Wrapped {
  std::shared_ptr<BufferRegistry> buffers;
  uint32_t id;
};

void finalize_wrapped(napi_env, void*, void* hint) {
  auto* wrapped = static_cast<Wrapped*>(hint);
  wrapped->buffers->free(wrapped->id);
  delete wrapped;
}

// allocate(sizeBytes, large): { id, memory }, or null when there is no memory to be had, or when
// the runtime has no ArrayBuffer of that length.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  size_t size_bytes;
  if (info.Length() != 2 || !read_size(env, info[0], &size_bytes) || size_bytes == 0 ||
      !info[1].IsBoolean()) {
    return refuse_arguments(env, "allocate(sizeBytes, large): a whole number from 1 to 2^53 - 1");
  }
  AddonData& data = addon_data(env);
  const uint32_t id = data.buffers->allocate(size_bytes, info[1].As<Napi::Boolean>().Value());
  if (id == buffer_none) return env.Null();
  const napi_value memory = wrap_buffer(env, data, id);
  if (memory == nullptr) return env.Null();
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", id);
  result.Set("memory", memory);
  return result;
}

// Touches pages in a thread of libuv's pool.
class TouchWork : public Napi::AsyncWorker {
 public:
  TouchWork(const Napi::Function& on_done, std::shared_ptr<BufferRegistry> buffers, uint32_t id,
            size_t at, size_t size_bytes)
      : Napi::AsyncWorker(on_done, "pacioli.touch"),
        buffers_(std::move(buffers)),
        id_(id),
        base_(buffers_->base(id) + at),
        size_bytes_(size_bytes) {
    buffers_->pin(id_);
  }
  ~TouchWork() override { buffers_->unpin(id_); }

  void Execute() override { BufferRegistry::touch(base_, size_bytes_); }

 private:
  const std::shared_ptr<BufferRegistry> buffers_;
  const uint32_t id_;
  uint8_t* const base_;
  const size_t size_bytes_;
};

// touch(id, at, sizeBytes, onDone): onDone is called from libuv's loop.
Napi::Value touch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AddonData& data = addon_data(env);
  uint32_t id;
  size_t at;
  size_t size_bytes;
  if (info.Length() != 4 || !read_u32(env, info[0], &id) || !data.buffers->contains(id) ||
      !read_size(env, info[1], &at) || !read_size(env, info[2], &size_bytes) ||
      !info[3].IsFunction()) {
    return refuse_arguments(env, "touch(id, at, sizeBytes, onDone)");
  }
  const size_t all_bytes = data.buffers->size_bytes(id);
  if (at > all_bytes || size_bytes > all_bytes - at) {
    return refuse_arguments(env, "touch(id, at, sizeBytes, onDone): pages of the buffer");
  }
  (new TouchWork(info[3].As<Napi::Function>(), data.buffers, id, at, size_bytes))->Queue();
  return env.Undefined();
}

template <uint64_t (*read_clock)()>
napi_value write_clock(napi_env env, napi_callback_info) {
  const uint64_t now_ns = read_clock();
  uint32_t* words = addon_data(env).clock_words;
  words[0] = static_cast<uint32_t>(now_ns);
  words[1] = static_cast<uint32_t>(now_ns >> 32);
  return nullptr;
}

template <class Result, Result (*function)(int)>
Napi::Value with_file(const Napi::CallbackInfo& info) {
  int fd;
  if (info.Length() != 1 || !read_descriptor(info.Env(), info[0], &fd)) {
    return refuse_arguments(info.Env(), "(fd): the number of an open file");
  }
  const Result result = function(fd);
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

// filePreallocate(fd, sizeBytes)
Napi::Value preallocate(const Napi::CallbackInfo& info) {
  int fd;
  size_t size_bytes;
  if (info.Length() != 2 || !read_descriptor(info.Env(), info[0], &fd) ||
      !read_size(info.Env(), info[1], &size_bytes)) {
    return refuse_arguments(info.Env(), "filePreallocate(fd, sizeBytes)");
  }
  const int result = file_preallocate(fd, static_cast<int64_t>(size_bytes));
  return Napi::Number::New(info.Env(), result);
}

}  // namespace

napi_value wrap_buffer(napi_env env, AddonData& data, uint32_t id) {
  auto* wrapped = new Wrapped{data.buffers, id};
  napi_value memory;
  const napi_status status =
      napi_create_external_arraybuffer(env, data.buffers->base(id), data.buffers->size_bytes(id),
                                       finalize_wrapped, wrapped, &memory);
  if (status == napi_ok) return memory;
  // Refused before it was looked at, the memory is still ours. Once Node has taken it, it finalizes
  // it also when it then fails, perhaps later: doing so here would free the buffer twice.
  if (status != napi_generic_failure) finalize_wrapped(env, nullptr, wrapped);
  bool pending = false;
  napi_value ignored;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) {
    napi_get_and_clear_last_exception(env, &ignored);
  }
  return nullptr;
}

void export_system(Napi::Env env, Napi::Object exports) {
  exports.Set("allocate", Napi::Function::New<allocate>(env, "allocate"));
  exports.Set("touch", Napi::Function::New<touch>(env, "touch"));
  exports.Set("fileLock", Napi::Function::New<with_file<int, file_lock>>(env, "fileLock"));
  exports.Set("fileUnlock", Napi::Function::New<with_file<int, file_unlock>>(env, "fileUnlock"));
  exports.Set("fileSize", Napi::Function::New<with_file<int64_t, file_size>>(env, "fileSize"));
  exports.Set("fileProbeDirect",
              Napi::Function::New<with_file<int, file_probe_direct>>(env, "fileProbeDirect"));
  exports.Set("fileDropCached",
              Napi::Function::New<with_file<int, file_drop_cached>>(env, "fileDropCached"));
  exports.Set("filePreallocate", Napi::Function::New<preallocate>(env, "filePreallocate"));

  // The clocks answer through two words that both sides see.
  AddonData& data = addon_data(env);
  const uint32_t id = data.buffers->allocate(page_size, false);
  const napi_value memory = id == buffer_none ? nullptr : wrap_buffer(env, data, id);
  if (memory == nullptr) {
    Napi::Error::New(env, "this runtime allows no external memory").ThrowAsJavaScriptException();
    return;
  }
  data.buffers->pin(id);  // For as long as clock_words may be written.
  data.clock_words = reinterpret_cast<uint32_t*>(data.buffers->base(id));
  exports.Set("clockMemory", memory);
  set_function(env, exports, "clockMonotonic", write_clock<monotonic_ns>);
  set_function(env, exports, "clockWall", write_clock<wall_ns>);
}

}  // namespace pacioli
