// The ring's functions for JavaScript. Rings are named by number.
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "../addon.h"
#include "../check.h"
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

uint32_t u32(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }

OpenRing* find(napi_env env, uint32_t id) {
  auto& list = addon_data(env).rings->list;
  return id < list.size() ? list[id].get() : nullptr;
}

OpenRing& ring_argument(const Napi::CallbackInfo& info) {
  CHECK(info.Length() > 0 && info[0].IsNumber());
  OpenRing* open = find(info.Env(), u32(info[0]));
  CHECK(open != nullptr);
  return *open;
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
  CHECK(info.Length() == 5);
  auto open = std::make_unique<OpenRing>();
  RingOptions options;
  options.entries = u32(info[0]);
  options.slots = u32(info[1]);
  options.completions_max = u32(info[2]);
  CHECK(u32(info[3]) <= static_cast<uint32_t>(RingLevel::plain));
  options.level = static_cast<RingLevel>(u32(info[3]));
  options.poll_us = u32(info[4]);
  AddonData& data = addon_data(env);
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
  if (!arguments.read(env, info) ||
      napi_get_value_uint32(env, arguments.values[0], &id) != napi_ok ||
      napi_get_value_uint32(env, arguments.values[1], &wait_ms) != napi_ok) {
    return throw_type_error(env, "ringEnter(id, waitMs)");
  }
  OpenRing* open = find(env, id);
  CHECK(open != nullptr);
  if (wait_ms > 0 && open->owned != nullptr) wait_ms = open->owned->shorten(wait_ms);
  return make_number(env, open->ring->enter(wait_ms));
}

// ringOwn(id, callback): owned drive. 0 or a negative errno.
Napi::Value ring_own(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 2 && info[1].IsFunction());
  CHECK(open.owned == nullptr && open.guest == nullptr);
  const int error = OwnedLoop::create(info.Env(), info[1].As<Napi::Function>(), &open.owned);
  if (error == 0) open.ring->set_wake_fd(open.owned->fd());
  return Napi::Number::New(info.Env(), error);
}

// ringWatch(id, callback): guest drive. 0 or a negative errno.
Napi::Value ring_watch(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 2 && info[1].IsFunction());
  CHECK(open.owned == nullptr && open.guest == nullptr);
  int error = GuestWake::create(info.Env(), info[1].As<Napi::Function>(), &open.guest);
  if (error == 0) error = open.ring->register_eventfd(open.guest->eventfd());
  return Napi::Number::New(info.Env(), error);
}

// ringRegisterFile(id, index, fd)
Napi::Value ring_register_file(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 3);
  const int error = open.ring->register_file(u32(info[1]), info[2].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), error);
}

// ringReserveBuffers(id, count)
Napi::Value ring_reserve_buffers(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 2);
  return Napi::Number::New(info.Env(), open.ring->reserve_buffers(u32(info[1])));
}

// ringRegisterBuffer(id, bufferId)
Napi::Value ring_register_buffer(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 2);
  return Napi::Number::New(info.Env(), open.ring->register_buffer(u32(info[1])));
}

// ringConnect(id, slot, host, port): opens a socket and puts the address into the slot's
// descriptor. The socket, or a negative errno.
Napi::Value ring_connect(const Napi::CallbackInfo& info) {
  OpenRing& open = ring_argument(info);
  CHECK(info.Length() == 4 && info[2].IsString());
  Descriptor& descriptor = open.ring->descriptor(u32(info[1]));
  uint8_t address[address_bytes_max];
  static_assert(sizeof(address) <= sizeof(descriptor.extra));
  const int length = address_parse(info[2].As<Napi::String>().Utf8Value().c_str(),
                                   static_cast<uint16_t>(u32(info[3])), address);
  if (length < 0) return Napi::Number::New(info.Env(), length);
  std::memcpy(descriptor.extra, address, sizeof(address));
  descriptor.length = static_cast<uint32_t>(length);
  return Napi::Number::New(info.Env(), socket_open(address));
}

// ringClose(id): the kernel must hold nothing any more.
Napi::Value ring_close(const Napi::CallbackInfo& info) {
  CHECK(ring_argument(info).ring->in_kernel() == 0);
  addon_data(info.Env()).rings->list[u32(info[0])].reset();
  return info.Env().Undefined();
}

// socketListen(host, port, backlog): the listener, or a negative errno.
Napi::Value listen_call(const Napi::CallbackInfo& info) {
  CHECK(info.Length() == 3 && info[0].IsString());
  uint8_t address[address_bytes_max];
  int result = address_parse(info[0].As<Napi::String>().Utf8Value().c_str(),
                             static_cast<uint16_t>(u32(info[1])), address);
  if (result > 0) {
    result = socket_listen(address, static_cast<uint32_t>(result),
                           info[2].As<Napi::Number>().Int32Value());
  }
  return Napi::Number::New(info.Env(), result);
}

// Functions of one descriptor: 0 or more, or a negative errno.
template <int (*function)(int)>
Napi::Value with_descriptor(const Napi::CallbackInfo& info) {
  CHECK(info.Length() == 1 && info[0].IsNumber());
  return Napi::Number::New(info.Env(), function(info[0].As<Napi::Number>().Int32Value()));
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
