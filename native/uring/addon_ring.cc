// The ring's functions for JavaScript. Rings are named by number.
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "../addon.h"
#include "../values.h"
#include "guest_wake.h"
#include "owned_loop.h"
#include "ring.h"
#include "ring_probe.h"
#include "sockets.h"

namespace pacioli {

struct OpenRing {
  std::unique_ptr<Ring> ring;
  // One of them, once the drive has been chosen.
  std::shared_ptr<OwnedLoop> owned;
  std::shared_ptr<GuestWake> guest;
};

// Destroyed with the environment's data, before its buffers.
struct Rings {
  std::vector<std::unique_ptr<OpenRing>> list;
};

namespace {

OpenRing* find(napi_env env, uint32_t id) {
  auto& list = addon_data(env).rings->list;
  return id < list.size() ? list[id].get() : nullptr;
}

// The ring that the first of `count` arguments names, or null.
OpenRing* ring_argument(const Napi::CallbackInfo& info, size_t count) {
  uint32_t id;
  if (info.Length() != count || !read_u32(info.Env(), info[0], &id)) return nullptr;
  return find(info.Env(), id);
}

bool read_port(napi_env env, napi_value value, uint16_t* out) {
  uint32_t port;
  if (!read_u32(env, value, &port) || port > UINT16_MAX) return false;
  *out = static_cast<uint16_t>(port);
  return true;
}

// A descriptor, or -1 for none.
bool read_descriptor_or_none(napi_env env, napi_value value, int* out) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok && number == -1) {
    *out = -1;
    return true;
  }
  return read_descriptor(env, value, out);
}

// ringProbe()
Napi::Value ring_probe(const Napi::CallbackInfo& info) {
  const RingProbe probe = probe_ring();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("error", probe.error);
  result.Set("setupFlags", probe.setup_flags);
  result.Set("features", probe.features);
  result.Set("opcodesComplete", probe.opcodes_complete);
  result.Set("durableWrite", probe.durable_write);
  return result;
}

// ringOpen(entries, slots, completionsMax, level, pollUs): a negative errno, or the ring's description.
Napi::Value ring_open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  RingOptions options;
  uint32_t level;
  if (info.Length() != 5 || !read_u32(env, info[0], &options.entries) ||
      !read_u32(env, info[1], &options.slots) ||
      !read_u32(env, info[2], &options.completions_max) || !read_u32(env, info[3], &level) ||
      level > static_cast<uint32_t>(RingLevel::plain) ||
      !read_u32(env, info[4], &options.poll_us)) {
    return refuse_arguments(env, "ringOpen(entries, slots, completionsMax, level, pollUs)");
  }
  options.level = static_cast<RingLevel>(level);
  if (!Ring::takes(options)) {
    return refuse_arguments(env, "ringOpen: powers of two up to 32768, and as many completions");
  }
  AddonData& data = addon_data(env);
  auto open = std::make_unique<OpenRing>();
  const int error = Ring::create(options, *data.buffers, &open->ring);
  if (error < 0) return Napi::Number::New(env, error);

  const Ring& ring = *open->ring;
  Napi::Object result = Napi::Object::New(env);
  const auto share = [&](const char* name, uint32_t id) {
    const napi_value memory = wrap_buffer(env, data, id);
    if (memory != nullptr) result.Set(name, memory);
    return memory != nullptr;
  };
  if (!share("descriptors", ring.descriptors_id()) || !share("queue", ring.pending_id()) ||
      !share("completions", ring.completions_id()) || !share("control", ring.control_id())) {
    return Napi::Number::New(env, -ENOMEM);
  }
  result.Set("setupFlags", ring.queue().setup_flags());
  result.Set("id", static_cast<uint32_t>(data.rings->list.size()));
  data.rings->list.push_back(std::move(open));
  return result;
}

// ringEnter(id, waitMs): completions copied out, or a negative errno.
napi_value ring_enter(napi_env env, napi_callback_info info) {
  Arguments<2> arguments;
  uint32_t id;
  uint32_t wait_ms;
  if (!arguments.read(env, info) || !read_u32(env, arguments.values[0], &id) ||
      !read_u32(env, arguments.values[1], &wait_ms)) {
    return throw_type_error(env, "ringEnter(id, waitMs)");
  }
  OpenRing* open = find(env, id);
  if (open == nullptr) return throw_type_error(env, "ringEnter: there is no such ring");
  if (wait_ms > 0 && open->owned != nullptr) wait_ms = open->owned->shorten(wait_ms);
  return make_number(env, open->ring->enter(wait_ms));
}

// A ring that has no drive yet, and the function that is to be called. Null for anything else.
OpenRing* drive_arguments(const Napi::CallbackInfo& info) {
  OpenRing* open = ring_argument(info, 2);
  if (open == nullptr || !info[1].IsFunction()) return nullptr;
  return open->owned == nullptr && open->guest == nullptr ? open : nullptr;
}

// ringOwn(id, callback): owned drive. 0 or a negative errno.
Napi::Value ring_own(const Napi::CallbackInfo& info) {
  OpenRing* open = drive_arguments(info);
  if (open == nullptr) return refuse_arguments(info.Env(), "ringOwn(id, callback): once per ring");
  const int error = OwnedLoop::create(info.Env(), info[1].As<Napi::Function>(), &open->owned);
  if (error == 0) open->ring->set_wake_fd(open->owned->fd());
  return Napi::Number::New(info.Env(), error);
}

// ringWatch(id, callback): guest drive. 0 or a negative errno.
Napi::Value ring_watch(const Napi::CallbackInfo& info) {
  OpenRing* open = drive_arguments(info);
  if (open == nullptr) return refuse_arguments(info.Env(), "ringWatch(id, callback): once per ring");
  int error = GuestWake::create(info.Env(), info[1].As<Napi::Function>(), &open->guest);
  if (error == 0) error = open->ring->register_eventfd(open->guest->eventfd());
  return Napi::Number::New(info.Env(), error);
}

// ringRegisterFile(id, index, fd): fd -1 empties the place.
Napi::Value ring_register_file(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenRing* open = ring_argument(info, 3);
  uint32_t index;
  int fd;
  if (open == nullptr || !read_u32(env, info[1], &index) || index >= Ring::files_max ||
      !read_descriptor_or_none(env, info[2], &fd)) {
    return refuse_arguments(env, "ringRegisterFile(id, index, fd)");
  }
  return Napi::Number::New(env, open->ring->register_file(index, fd));
}

// ringReserveBuffers(id, count)
Napi::Value ring_reserve_buffers(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenRing* open = ring_argument(info, 2);
  uint32_t count;
  if (open == nullptr || !read_u32(env, info[1], &count) || !open->ring->may_reserve(count)) {
    return refuse_arguments(env, "ringReserveBuffers(id, count): 1 to 65535, once per ring");
  }
  return Napi::Number::New(env, open->ring->reserve_buffers(count));
}

// ringRegisterBuffer(id, bufferId)
Napi::Value ring_register_buffer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenRing* open = ring_argument(info, 2);
  uint32_t buffer_id;
  if (open == nullptr || !read_u32(env, info[1], &buffer_id) ||
      !open->ring->may_register(buffer_id)) {
    return refuse_arguments(env, "ringRegisterBuffer(id, bufferId): once per buffer");
  }
  return Napi::Number::New(env, open->ring->register_buffer(buffer_id));
}

// ringConnect(id, slot, host, port): opens a socket and puts the address into the slot's
// descriptor. The socket, or a negative errno.
Napi::Value ring_connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenRing* open = ring_argument(info, 4);
  uint32_t slot;
  uint16_t port;
  if (open == nullptr || !read_u32(env, info[1], &slot) ||
      slot >= open->ring->options().slots || !info[2].IsString() ||
      !read_port(env, info[3], &port)) {
    return refuse_arguments(env, "ringConnect(id, slot, host, port)");
  }
  Descriptor& descriptor = open->ring->descriptor(slot);
  uint8_t address[address_bytes_max];
  static_assert(sizeof(address) <= sizeof(descriptor.extra));
  const int length =
      address_parse(info[2].As<Napi::String>().Utf8Value().c_str(), port, address);
  if (length < 0) return Napi::Number::New(env, length);
  std::memcpy(descriptor.extra, address, sizeof(address));
  descriptor.length = static_cast<uint32_t>(length);
  return Napi::Number::New(env, socket_open(address));
}

// ringClose(id): the kernel must hold nothing any more.
Napi::Value ring_close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenRing* open = ring_argument(info, 1);
  if (open == nullptr || open->ring->in_kernel() != 0) {
    return refuse_arguments(env, "ringClose(id): a ring of which the kernel holds nothing");
  }
  for (auto& held : addon_data(env).rings->list) {
    if (held.get() == open) held.reset();
  }
  return env.Undefined();
}

// socketListen(host, port, backlog): the listener, or a negative errno.
Napi::Value listen_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint16_t port;
  int backlog;
  if (info.Length() != 3 || !info[0].IsString() || !read_port(env, info[1], &port) ||
      !read_descriptor(env, info[2], &backlog)) {
    return refuse_arguments(env, "socketListen(host, port, backlog)");
  }
  uint8_t address[address_bytes_max];
  int result = address_parse(info[0].As<Napi::String>().Utf8Value().c_str(), port, address);
  if (result > 0) result = socket_listen(address, static_cast<uint32_t>(result), backlog);
  return Napi::Number::New(env, result);
}

// Functions of one descriptor: 0 or more, or a negative errno.
template <int (*function)(int)>
Napi::Value with_descriptor(const Napi::CallbackInfo& info) {
  int fd;
  if (info.Length() != 1 || !read_descriptor(info.Env(), info[0], &fd)) {
    return refuse_arguments(info.Env(), "(fd): the number of an open socket");
  }
  return Napi::Number::New(info.Env(), function(fd));
}

int socket_discard(int fd) { return close(fd) == 0 ? 0 : -errno; }

}  // namespace

void export_rings(Napi::Env env, Napi::Object exports) {
  addon_data(env).rings = std::make_shared<Rings>();
  set_function(env, exports, "ringEnter", ring_enter);
  exports.Set("ringProbe", Napi::Function::New<ring_probe>(env, "ringProbe"));
  exports.Set("ringOpen", Napi::Function::New<ring_open>(env, "ringOpen"));
  exports.Set("ringOwn", Napi::Function::New<ring_own>(env, "ringOwn"));
  exports.Set("ringWatch", Napi::Function::New<ring_watch>(env, "ringWatch"));
  exports.Set("ringRegisterFile",
              Napi::Function::New<ring_register_file>(env, "ringRegisterFile"));
  exports.Set("ringReserveBuffers",
              Napi::Function::New<ring_reserve_buffers>(env, "ringReserveBuffers"));
  exports.Set("ringRegisterBuffer",
              Napi::Function::New<ring_register_buffer>(env, "ringRegisterBuffer"));
  exports.Set("ringConnect", Napi::Function::New<ring_connect>(env, "ringConnect"));
  exports.Set("ringClose", Napi::Function::New<ring_close>(env, "ringClose"));
  exports.Set("socketListen", Napi::Function::New<listen_call>(env, "socketListen"));
  exports.Set("socketPort",
              Napi::Function::New<with_descriptor<socket_port>>(env, "socketPort"));
  exports.Set("socketConfigure",
              Napi::Function::New<with_descriptor<socket_configure>>(env, "socketConfigure"));
  exports.Set("socketShutdown",
              Napi::Function::New<with_descriptor<socket_shutdown>>(env, "socketShutdown"));
  exports.Set("socketDiscard",
              Napi::Function::New<with_descriptor<socket_discard>>(env, "socketDiscard"));
}

}  // namespace pacioli
