// checksum(target, targetAt, source, at, length): see src/native/checksum.ts.
#include "addon.h"
#include "aegis.h"
#include "values.h"

namespace pacioli {
namespace {

napi_value checksum(napi_env env, napi_callback_info info) {
  Arguments<5> arguments;
  Bytes target;
  Bytes source;
  size_t target_at;
  size_t at;
  size_t length;
  if (!arguments.read(env, info) || !read_bytes(env, arguments.values[0], &target) ||
      !read_size(env, arguments.values[1], &target_at) ||
      !read_bytes(env, arguments.values[2], &source) ||
      !read_size(env, arguments.values[3], &at) ||
      !read_size(env, arguments.values[4], &length)) {
    return throw_type_error(env, "checksum(target, targetAt, source, at, length)");
  }
  if (target_at > target.length || target.length - target_at < checksum_size) {
    return throw_range_error(env, "the checksum lies outside its array");
  }
  if (at > source.length || source.length - at < length) {
    return throw_range_error(env, "the input lies outside its array");
  }
  checksum_implementation().compute(target.base + target_at, source.base + at, length);
  return nullptr;
}

}  // namespace

void export_checksum(Napi::Env env, Napi::Object exports) {
  set_function(env, exports, "checksum", checksum);
  exports.Set("checksumVariant", checksum_implementation().name);
}

}  // namespace pacioli
