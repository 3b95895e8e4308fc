// What JavaScript and C++ write to each other through shared memory. src/native/layout.ts holds
// the same numbers; the addon exports these and the loader refuses an addon that differs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

// Raised with every change of the boundary's meaning.
constexpr uint32_t addon_version = 7;

// One operation, described by JavaScript. A slot's descriptor is not touched by JavaScript from
// the time the slot is queued until its completion was copied out.
struct Descriptor {
  uint32_t opcode;
  // A file descriptor, or an index of the registered files with `flag::fixed_file`. For a cancel:
  // the slot to cancel.
  uint32_t handle;
  uint32_t buffer_id;
  uint32_t buffer_at;
  // Bytes to move; for a connect the length of the address in `extra`.
  uint32_t length;
  uint32_t offset_low;
  uint32_t offset_high;
  uint32_t flags;
  // Address of a connect, or the time of a timeout (two 64-bit integers: seconds, nanoseconds).
  uint32_t extra[8];
};
static_assert(sizeof(Descriptor) == 64);
static_assert(offsetof(Descriptor, flags) == 28);
static_assert(offsetof(Descriptor, extra) == 32);

namespace opcode {
// 0 is no opcode: a zeroed descriptor must not run.
constexpr uint32_t nop = 1, read = 2, write = 3, sync = 4, accept = 5, connect = 6, receive = 7,
                   send = 8, shutdown = 9, close = 10, timeout = 11, cancel = 12, poll = 13;
}  // namespace opcode

namespace flag {
// Write: complete when the data is on stable storage. Handle is a registered file. Receive:
// complete when all bytes have come.
constexpr uint32_t durable = 1, fixed_file = 2, whole = 4;
}  // namespace flag

struct CompletionEntry {
  uint32_t slot;
  int32_t result;
  // From the kernel's taking the operation until its completion was copied out. Microseconds.
  uint32_t duration_us;
  uint32_t reserved;
};
static_assert(sizeof(CompletionEntry) == 16);

struct Control {
  // The queue of slots to submit: JavaScript moves the tail, C++ the head; both only grow.
  uint32_t queue_head;
  uint32_t queue_tail;
  // 1 when the watched descriptor (libuv's) became readable during the last call.
  uint32_t wake;
  // Calls into the kernel so far.
  uint32_t system_calls;
  // Operations that the kernel holds.
  uint32_t in_kernel;
  // Times that the kernel could not take all that was offered, or held completions back.
  uint32_t pressure;
  uint32_t reserved[2];
};
static_assert(sizeof(Control) == 32);

}  // namespace pacioli
