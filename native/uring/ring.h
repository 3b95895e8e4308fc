// One io_uring, driven by descriptors in memory that is shared with JavaScript.
//
// Invariants: a slot is JavaScript's, queued, or the kernel's; the kernel holds at most one
// operation per slot; a buffer is pinned while an operation of the kernel's names it, from the
// translation of its descriptor until its completion was copied out. A registered buffer is pinned
// from its registration to the end of the ring, since the kernel holds its pages.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../layout.h"
#include "../memory.h"
#include "polling.h"
#include "uring_queue.h"

namespace pacioli {

struct RingOptions {
  // Size of the kernel's submission ring. A power of two.
  uint32_t entries = 256;
  // Operations in flight at most. A power of two.
  uint32_t slots = 4096;
  // Completions copied out per call at most.
  uint32_t completions_max = 1024;
  // For tests: as an older kernel would.
  RingLevel level = RingLevel::newest;
  // For so long a wait for writes of files asks for completions before it sleeps. Microseconds.
  uint32_t poll_us = 0;
};

class Ring {
 public:
  static constexpr uint32_t files_max = 16;

  // Whether `create` may be called with these options.
  static bool takes(const RingOptions& options);

  // Returns 0, or a negative errno with which the kernel refused.
  static int create(const RingOptions& options, BufferRegistry& buffers,
                    std::unique_ptr<Ring>* out);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Submits what is queued, waits up to `wait_ms` for a first completion (not at all for 0) and
  // copies completions out. Returns their number, or a negative errno after which the ring must
  // not be used: completions may have been lost.
  int enter(uint32_t wait_ms);

  // Puts `fd` at `index` of the registered files; -1 takes what lies there out. The kernel keeps
  // the file open until then, or until the ring ends. A negative errno: the operations work
  // without.
  int register_file(uint32_t index, int fd);
  // Whether `reserve_buffers` and `register_buffer` may be called: once, and once per buffer.
  bool may_reserve(uint32_t count) const;
  bool may_register(uint32_t buffer_id) const;
  // From now on buffers may be registered, `count` at most. 0 or a negative errno.
  int reserve_buffers(uint32_t count);
  // Lets the kernel keep a buffer's pages at hand, for reads and writes of files. They count as
  // locked memory until the ring ends. 0, or a negative errno: -ENOMEM beyond the limit of locked
  // memory, -ENOSPC when the table is full. The operations work without.
  int register_buffer(uint32_t buffer_id);
  // From now on, a wait also ends when `fd` is readable.
  void set_wake_fd(int fd);
  // The kernel adds to this eventfd when completions are there to be reaped.
  int register_eventfd(int fd);

  Descriptor& descriptor(uint32_t slot);
  const RingOptions& options() const { return options_; }
  const UringQueue& queue() const { return queue_; }
  uint32_t in_kernel() const { return control_->in_kernel; }

  // Shared memory, as buffers of the registry.
  uint32_t descriptors_id() const { return descriptors_id_; }
  uint32_t pending_id() const { return pending_id_; }
  uint32_t completions_id() const { return completions_id_; }
  uint32_t control_id() const { return control_id_; }

 private:
  struct Slot {
    uint64_t taken_ns;
    uint32_t buffer_id;
    bool in_kernel;
  };

  // The ring as Polling asks it.
  struct PollSource;

  Ring(const RingOptions& options, BufferRegistry& buffers);
  int open();
  uint8_t* allocate_shared(size_t size_bytes, uint32_t* id);
  void fill();
  void translate(uint32_t slot);
  uint8_t* buffer_range(const Descriptor& descriptor, Slot& slot);
  void name_buffer(const Descriptor& descriptor, Slot& slot, uring::Sqe& sqe, uint8_t opcode,
                   uint8_t opcode_fixed);
  void unregister();
  void arm_wake();
  int submit(uint32_t wait_ms);
  uint32_t drain();

  const RingOptions options_;
  BufferRegistry& buffers_;
  UringQueue queue_;
  std::vector<Slot> slots_;
  int wake_fd_ = -1;
  bool wake_armed_ = false;
  // Writes of files that the kernel holds.
  uint32_t writes_ = 0;
  Polling polling_;

  // 0, or why the kernel keeps no files for this ring.
  int files_error_ = 0;
  // By buffer id: its place in the kernel's table, or buffer_none.
  std::vector<uint32_t> buffer_places_;
  uint32_t buffer_places_max_ = 0;
  uint32_t buffer_places_used_ = 0;

  uint32_t descriptors_id_ = buffer_none;
  uint32_t pending_id_ = buffer_none;
  uint32_t completions_id_ = buffer_none;
  uint32_t control_id_ = buffer_none;
  Descriptor* descriptors_ = nullptr;
  // Slots to submit, a ring of options_.slots entries between control_->queue_head and tail.
  const uint32_t* pending_ = nullptr;
  CompletionEntry* completions_ = nullptr;
  Control* control_ = nullptr;
};

}  // namespace pacioli
