// The kernel's two queues and the three system calls, nothing of Pacioli's. Not thread-safe: one
// thread submits and reaps.
//
// Invariants: an entry that the kernel has not taken stays in the submission ring and is offered
// again; the completion ring is larger than what may be in flight, and if it overflows all the
// same the kernel keeps the rest (feature no_drop) until it is asked again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "uring_abi.h"

namespace pacioli {

// How completions are delivered, best first.
enum class RingLevel : uint32_t {
  // Worked off only when this thread asks for them: no interrupts, no locks. Linux 6.1.
  newest = 0,
  // Without interrupting this thread. Linux 5.19.
  cooperative = 1,
  // Linux 5.11.
  plain = 2,
};

class UringQueue {
 public:
  UringQueue() = default;
  ~UringQueue();
  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  // Takes the best level that the kernel knows, not better than `level`. Returns 0 or a negative
  // errno: -EPERM and -ENOSYS where io_uring is refused or missing.
  int open(uint32_t sq_entries, uint32_t cq_entries, RingLevel level);

  // Room for further submissions.
  uint32_t sq_space() const;
  // A zeroed entry, in the ring from now on. There must be space.
  uring::Sqe& sqe_next();
  // Entries that the kernel has not taken yet.
  uint32_t sq_waiting() const;

  // Submits what waits, then waits up to `wait_ms` for a completion (0: does not wait). Skips the
  // system call when there is nothing to do. Returns 1 when a call was made, 0 when not, or a
  // negative errno.
  int enter(uint32_t wait_ms);

  // Whether `enter(0)` would find something: completions, or work of the kernel's that makes some.
  bool has_news() const;
  // The kernel holds completions back that did not fit the ring.
  bool cq_overflown() const;
  uint32_t cq_ready() const;
  // The oldest completion; there must be one. It is given back to the kernel by cq_pop.
  const uring::Cqe& cq_front() const;
  void cq_pop();

  int register_call(uint32_t operation, const void* argument, uint32_t count);

  uint32_t setup_flags() const { return setup_flags_; }
  uint32_t features() const { return features_; }

 private:
  int map(const uring::Params& params);
  bool work_deferred() const;

  int fd_ = -1;
  uint32_t setup_flags_ = 0;
  uint32_t features_ = 0;

  uint8_t* rings_ = nullptr;
  size_t rings_bytes_ = 0;
  uring::Sqe* sqes_ = nullptr;
  size_t sqes_bytes_ = 0;

  uint32_t* sq_head_ = nullptr;  // Moved by the kernel.
  uint32_t* sq_tail_ = nullptr;  // Moved here.
  uint32_t* sq_flags_ = nullptr;
  uint32_t sq_mask_ = 0;
  uint32_t sq_tail_local_ = 0;  // Published to sq_tail_ by enter.
  uint32_t* cq_head_ = nullptr;  // Moved here.
  uint32_t* cq_tail_ = nullptr;  // Moved by the kernel.
  uint32_t cq_mask_ = 0;
  const uring::Cqe* cqes_ = nullptr;
};

}  // namespace pacioli
