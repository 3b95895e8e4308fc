// Arguments of Node-API calls on the hot path. node-addon-api's classes cost an allocation here
// and there; these read a call's arguments with the bare C calls.
#pragma once

#include <cmath>
#include <cstdint>

#include <napi.h>

namespace pacioli {

template <size_t count>
struct Arguments {
  napi_value values[count];
  void* data = nullptr;

  // False when the call does not have exactly `count` arguments.
  bool read(napi_env env, napi_callback_info info) {
    size_t given = count;
    return napi_get_cb_info(env, info, &given, values, nullptr, &data) == napi_ok &&
           given == count;
  }
};

struct Bytes {
  uint8_t* base = nullptr;
  size_t length = 0;
};

inline bool read_bytes(napi_env env, napi_value value, Bytes* out) {
  napi_typedarray_type type;
  void* base;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &base, nullptr, nullptr) !=
      napi_ok) {
    return false;
  }
  out->base = static_cast<uint8_t*>(base);
  return type == napi_uint8_array;
}

struct Words {
  uint32_t* base = nullptr;
  size_t length = 0; // Words.
};

// A Uint32Array over memory that no other thread can reach.
inline bool read_words(napi_env env, napi_value value, Words* out) {
  napi_typedarray_type type;
  void* base;
  napi_value memory;
  bool unshared;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &base, &memory, nullptr) !=
          napi_ok ||
      napi_is_arraybuffer(env, memory, &unshared) != napi_ok) {
    return false;
  }
  out->base = static_cast<uint32_t*>(base);
  return type == napi_uint32_array && unshared;
}

// A whole number in [0, 2^53).
inline bool read_size(napi_env env, napi_value value, size_t* out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return false;
  if (!(number >= 0 && number < 9007199254740992.0) || std::floor(number) != number) return false;
  *out = static_cast<size_t>(number);
  return true;
}

// A whole number in [0, 2^32).
inline bool read_u32(napi_env env, napi_value value, uint32_t* out) {
  size_t number;
  if (!read_size(env, value, &number) || number > UINT32_MAX) return false;
  *out = static_cast<uint32_t>(number);
  return true;
}

inline bool read_descriptor(napi_env env, napi_value value, int* out) {
  size_t number;
  if (!read_size(env, value, &number) || number > INT32_MAX) return false;
  *out = static_cast<int>(number);
  return true;
}

inline napi_value throw_range_error(napi_env env, const char* message) {
  napi_throw_range_error(env, nullptr, message);
  return nullptr;
}

inline napi_value throw_type_error(napi_env env, const char* message) {
  napi_throw_type_error(env, nullptr, message);
  return nullptr;
}

// For functions of node-addon-api: what a call with wrong arguments throws, and returns.
inline Napi::Value refuse_arguments(Napi::Env env, const char* signature) {
  throw_type_error(env, signature);
  return env.Undefined();
}

inline napi_value make_number(napi_env env, double number) {
  napi_value value;
  return napi_create_double(env, number, &value) == napi_ok ? value : nullptr;
}

}  // namespace pacioli
