#include "ring.h"

#include <cerrno>

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../check.h"
#include "../clocks.h"

namespace pacioli {
namespace {

using uring::Cqe;
using uring::Sqe;

// User data of the poll on the wake descriptor; slots lie far below.
constexpr uint64_t wake_user_data = 0xffff'ffff'ffff'fffe;

// The kernel moves at most this much per operation (its MAX_RW_COUNT).
constexpr uint32_t transfer_bytes_max = 0x7fff'f000;

// The kernel registers no larger buffer.
constexpr size_t registered_bytes_max = size_t{1} << 30;

// The kernel has no larger rings of submissions; for the others it is more than anybody needs.
constexpr uint32_t size_max = 32768;

// A full submission ring is handed over and filled again this often per call at most.
constexpr int refills_max = 64;

constexpr bool is_power_of_two(uint32_t value) { return value != 0 && (value & (value - 1)) == 0; }

// A yield puts this thread back in the scheduler's order, and takes a system call.
constexpr uint64_t watch_ns = 5'000;

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int processors_available() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // More than the set has room for is an error, and enough.
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : CPU_SETSIZE;
}

}  // namespace

Ring::Ring(const RingOptions& options, BufferRegistry& buffers)
    : options_(options),
      buffers_(buffers),
      slots_(options.slots, Slot{0, buffer_none, false}),
      // The kernel's thread that ends a write needs a processor: of a single one, ours.
      polling_(processors_available() > 1 ? options.poll_us : 0) {
  CHECK(takes(options));
}

Ring::~Ring() {
  // Otherwise the kernel gives all back itself once its last operation has ended.
  if (control_ != nullptr && control_->in_kernel == 0) unregister();
  // Buffers of operations that the kernel still holds stay pinned, hence mapped.
  for (const uint32_t id : {descriptors_id_, pending_id_, completions_id_, control_id_}) {
    if (id != buffer_none) buffers_.unpin(id);
  }
}

bool Ring::takes(const RingOptions& options) {
  return is_power_of_two(options.entries) && options.entries <= size_max &&
         is_power_of_two(options.slots) && options.slots <= size_max &&
         options.completions_max > 0 && options.completions_max <= size_max;
}

int Ring::create(const RingOptions& options, BufferRegistry& buffers, std::unique_ptr<Ring>* out) {
  std::unique_ptr<Ring> ring(new Ring(options, buffers));
  if (const int error = ring->open()) return error;
  *out = std::move(ring);
  return 0;
}

int Ring::open() {
  // Every slot and the wake poll have room among the completions: they do not overflow.
  const uint32_t larger = options_.slots > options_.entries ? options_.slots : options_.entries;
  if (const int error = queue_.open(options_.entries, 2 * larger, options_.level)) return error;

  int files[files_max];
  for (int& fd : files) fd = -1;
  files_error_ = queue_.register_call(uring::register_op::files, files, files_max);

  const uint32_t slots = options_.slots;
  descriptors_ = reinterpret_cast<Descriptor*>(
      allocate_shared(slots * sizeof(Descriptor), &descriptors_id_));
  pending_ = reinterpret_cast<uint32_t*>(allocate_shared(slots * sizeof(uint32_t), &pending_id_));
  completions_ = reinterpret_cast<CompletionEntry*>(
      allocate_shared(options_.completions_max * sizeof(CompletionEntry), &completions_id_));
  control_ = reinterpret_cast<Control*>(allocate_shared(sizeof(Control), &control_id_));
  return control_ == nullptr || completions_ == nullptr || pending_ == nullptr ||
                 descriptors_ == nullptr
             ? -ENOMEM
             : 0;
}

uint8_t* Ring::allocate_shared(size_t size_bytes, uint32_t* id) {
  *id = buffers_.allocate(size_bytes, false);
  if (*id == buffer_none) return nullptr;
  buffers_.pin(*id);
  return buffers_.base(*id);
}

Descriptor& Ring::descriptor(uint32_t slot) {
  CHECK(slot < options_.slots);
  return descriptors_[slot];
}

int Ring::enter(uint32_t wait_ms) {
  control_->wake = 0;
  if (wake_fd_ >= 0 && wait_ms > 0) arm_wake();
  for (int refill = 0;; refill += 1) {
    fill();
    const bool more = control_->queue_head != control_->queue_tail;
    const bool wait = !more && queue_.cq_ready() == 0;
    const int result = submit(wait ? wait_ms : 0);
    if (result < 0) return result;
    if (!more) break;
    control_->pressure += 1;
    // Nothing was taken: the rest waits for the next turn, after completions were reaped.
    if (queue_.sq_space() == 0 || refill == refills_max) break;
  }
  if (queue_.cq_overflown()) control_->pressure += 1;
  return static_cast<int>(drain());
}

struct Ring::PollSource {
  Ring& ring;

  uint64_t now_ns() const { return monotonic_ns(); }

  int ask() {
    const int result = ring.queue_.enter(0);
    if (result < 0) return result;
    ring.control_->system_calls += static_cast<uint32_t>(result);
    return ring.queue_.cq_ready() > 0 ? 1 : 0;
  }

  bool watch() const {
    const uint64_t until_ns = monotonic_ns() + watch_ns;
    while (!ring.queue_.has_news()) {
      if (monotonic_ns() >= until_ns) return false;
      cpu_relax();
    }
    return true;
  }

  // The kernel's thread that ends a write may need this processor.
  void yield() const { sched_yield(); }
};

// Hands over what is in the submission ring and waits. 0 or a negative errno.
int Ring::submit(uint32_t wait_ms) {
  if (wait_ms > 0 && writes_ > 0) {
    PollSource source{*this};
    const int found = polling_.run(source);
    if (found != 0) return found < 0 ? found : 0;
  }
  const int result = queue_.enter(wait_ms);
  if (result < 0) return result;
  control_->system_calls += static_cast<uint32_t>(result);
  return 0;
}

// Moves queued slots into the submission ring while it has room.
void Ring::fill() {
  const uint32_t tail = control_->queue_tail;
  CHECK(tail - control_->queue_head <= options_.slots);
  if (tail == control_->queue_head) return;
  const uint64_t now_ns = monotonic_ns();
  while (control_->queue_head != tail && queue_.sq_space() > 0) {
    const uint32_t slot = pending_[control_->queue_head & (options_.slots - 1)];
    CHECK(slot < options_.slots);
    CHECK(!slots_[slot].in_kernel);
    slots_[slot] = {now_ns, buffer_none, true};
    translate(slot);
    control_->queue_head += 1;
    control_->in_kernel += 1;
  }
}

void Ring::translate(uint32_t index) {
  const Descriptor& from = descriptors_[index];
  Slot& slot = slots_[index];
  Sqe& sqe = queue_.sqe_next();
  sqe.user_data = index;
  sqe.fd = static_cast<int32_t>(from.handle);
  const uint64_t offset = (uint64_t{from.offset_high} << 32) | from.offset_low;
  if (from.flags & flag::fixed_file) {
    CHECK(from.handle < files_max);
    CHECK(from.opcode == opcode::read || from.opcode == opcode::write ||
          from.opcode == opcode::sync);
    sqe.flags = uring::sqe_fixed_file;
  }

  switch (from.opcode) {
    case opcode::nop:
      sqe.opcode = uring::op::nop;
      sqe.fd = -1;
      break;
    case opcode::read:
      name_buffer(from, slot, sqe, uring::op::read, uring::op::read_fixed);
      sqe.off = offset;
      break;
    case opcode::write:
      writes_ += 1;
      name_buffer(from, slot, sqe, uring::op::write, uring::op::write_fixed);
      sqe.off = offset;
      sqe.op_flags = from.flags & flag::durable ? uring::rwf_dsync : 0;
      break;
    case opcode::sync:
      sqe.opcode = uring::op::fsync;
      sqe.op_flags = uring::fsync_datasync;
      break;
    case opcode::accept:
      sqe.opcode = uring::op::accept;
      sqe.op_flags = SOCK_CLOEXEC;
      break;
    case opcode::connect:
      CHECK(from.length <= sizeof(from.extra));
      sqe.opcode = uring::op::connect;
      sqe.addr = reinterpret_cast<uint64_t>(from.extra);
      sqe.off = from.length;
      break;
    case opcode::receive:
      sqe.opcode = uring::op::recv;
      sqe.addr = reinterpret_cast<uint64_t>(buffer_range(from, slot));
      sqe.len = from.length;
      sqe.op_flags = from.flags & flag::whole ? MSG_WAITALL : 0;
      break;
    case opcode::send:
      sqe.opcode = uring::op::send;
      sqe.addr = reinterpret_cast<uint64_t>(buffer_range(from, slot));
      sqe.len = from.length;
      sqe.op_flags = MSG_NOSIGNAL | MSG_WAITALL;
      break;
    case opcode::shutdown:
      sqe.opcode = uring::op::shutdown;
      sqe.len = SHUT_RDWR;
      break;
    case opcode::close:
      sqe.opcode = uring::op::close;
      break;
    case opcode::timeout:
      static_assert(sizeof(from.extra) >= sizeof(uring::Timespec));
      sqe.opcode = uring::op::timeout;
      sqe.fd = -1;
      sqe.addr = reinterpret_cast<uint64_t>(from.extra);
      sqe.len = 1;
      break;
    case opcode::cancel:
      CHECK(from.handle < options_.slots);
      sqe.opcode = uring::op::async_cancel;
      sqe.fd = -1;
      sqe.addr = from.handle;
      break;
    case opcode::poll:
      sqe.opcode = uring::op::poll_add;
      sqe.op_flags = POLLIN;
      break;
    default:
      CHECK(!"descriptor names an operation");
  }
}

// The address of the bytes that a descriptor names; pins their buffer.
uint8_t* Ring::buffer_range(const Descriptor& descriptor, Slot& slot) {
  const size_t size_bytes = buffers_.size_bytes(descriptor.buffer_id);
  CHECK(descriptor.buffer_at <= size_bytes);
  CHECK(descriptor.length <= size_bytes - descriptor.buffer_at);
  CHECK(descriptor.length <= transfer_bytes_max);
  buffers_.pin(descriptor.buffer_id);
  slot.buffer_id = descriptor.buffer_id;
  return buffers_.base(descriptor.buffer_id) + descriptor.buffer_at;
}

// A read or write of the bytes that a descriptor names, by the kernel's own mapping of them if it
// has one.
void Ring::name_buffer(const Descriptor& descriptor, Slot& slot, Sqe& sqe, uint8_t opcode,
                       uint8_t opcode_fixed) {
  sqe.addr = reinterpret_cast<uint64_t>(buffer_range(descriptor, slot));
  sqe.len = descriptor.length;
  const uint32_t id = descriptor.buffer_id;
  const bool fixed = id < buffer_places_.size() && buffer_places_[id] != buffer_none;
  sqe.opcode = fixed ? opcode_fixed : opcode;
  if (fixed) sqe.buf_index = static_cast<uint16_t>(buffer_places_[id]);
}

// Stays armed until the descriptor becomes readable, over as many calls as that takes.
void Ring::arm_wake() {
  if (wake_armed_ || queue_.sq_space() == 0) return;
  Sqe& sqe = queue_.sqe_next();
  sqe.opcode = uring::op::poll_add;
  sqe.fd = wake_fd_;
  sqe.op_flags = POLLIN;
  sqe.user_data = wake_user_data;
  wake_armed_ = true;
}

// Copies completions out. What exceeds the array stays in the ring for the next call.
uint32_t Ring::drain() {
  uint32_t count = 0;
  uint64_t now_ns = 0;
  while (count < options_.completions_max && queue_.cq_ready() > 0) {
    const Cqe cqe = queue_.cq_front();
    queue_.cq_pop();
    if (cqe.user_data == wake_user_data) {
      wake_armed_ = false;
      control_->wake = 1;
      continue;
    }
    CHECK(cqe.user_data < options_.slots);
    Slot& slot = slots_[cqe.user_data];
    CHECK(slot.in_kernel);
    slot.in_kernel = false;
    if (descriptors_[cqe.user_data].opcode == opcode::write) writes_ -= 1;
    if (slot.buffer_id != buffer_none) buffers_.unpin(slot.buffer_id);
    if (now_ns == 0) now_ns = monotonic_ns();
    const uint64_t duration_us = (now_ns - slot.taken_ns) / 1000;
    completions_[count] = {static_cast<uint32_t>(cqe.user_data), cqe.res,
                           duration_us > UINT32_MAX ? UINT32_MAX
                                                    : static_cast<uint32_t>(duration_us),
                           0};
    count += 1;
    CHECK(control_->in_kernel > 0);
    control_->in_kernel -= 1;
  }
  return count;
}

int Ring::register_file(uint32_t index, int fd) {
  CHECK(index < files_max);
  if (files_error_ < 0) return files_error_;
  const uring::FilesUpdate update{index, 0, reinterpret_cast<uint64_t>(&fd)};
  const int result = queue_.register_call(uring::register_op::files_update, &update, 1);
  return result < 0 ? result : 0;
}

bool Ring::may_reserve(uint32_t count) const {
  return count > 0 && count <= UINT16_MAX && buffer_places_max_ == 0;
}

int Ring::reserve_buffers(uint32_t count) {
  CHECK(may_reserve(count));
  const uring::ResourceRegister table{count, uring::register_sparse, 0, 0, 0};
  const int result = queue_.register_call(uring::register_op::buffers2, &table, sizeof(table));
  if (result < 0) return result;
  buffer_places_max_ = count;
  return 0;
}

bool Ring::may_register(uint32_t buffer_id) const {
  if (!buffers_.contains(buffer_id)) return false;
  return buffer_places_.size() <= buffer_id || buffer_places_[buffer_id] == buffer_none;
}

int Ring::register_buffer(uint32_t buffer_id) {
  CHECK(may_register(buffer_id));
  const size_t size_bytes = buffers_.size_bytes(buffer_id);
  if (size_bytes > registered_bytes_max) return -EFBIG;
  if (buffer_places_used_ == buffer_places_max_) return -ENOSPC;
  if (buffer_places_.size() <= buffer_id) buffer_places_.resize(buffer_id + 1, buffer_none);

  const uint32_t place = buffer_places_used_;
  const iovec range{buffers_.base(buffer_id), size_bytes};
  const uring::ResourceUpdate update{place, 0, reinterpret_cast<uint64_t>(&range), 0, 1, 0};
  const int result =
      queue_.register_call(uring::register_op::buffers_update, &update, sizeof(update));
  if (result < 0) return result;
  CHECK(result == 1);
  buffer_places_[buffer_id] = place;
  buffer_places_used_ += 1;
  buffers_.pin(buffer_id);
  return 0;
}

// Closing the ring would do it too, but some time later: until then the memory would count as
// locked, and a registered file would be open.
void Ring::unregister() {
  if (files_error_ == 0) queue_.register_call(uring::register_op::unregister_files, nullptr, 0);
  if (buffer_places_max_ == 0) return;
  if (queue_.register_call(uring::register_op::unregister_buffers, nullptr, 0) < 0) return;
  for (uint32_t id = 0; id < buffer_places_.size(); id += 1) {
    if (buffer_places_[id] != buffer_none) buffers_.unpin(id);
  }
}

void Ring::set_wake_fd(int fd) {
  CHECK(wake_fd_ == -1);
  wake_fd_ = fd;
}

int Ring::register_eventfd(int fd) {
  return queue_.register_call(uring::register_op::eventfd, &fd, 1);
}

}  // namespace pacioli
