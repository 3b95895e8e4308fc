#include "uring_queue.h"

#include <cerrno>
#include <csignal>
#include <iterator>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../check.h"

namespace pacioli {
namespace {

using uring::Cqe;
using uring::Params;
using uring::Sqe;

// The system calls with errors as negative errno values.
int call_setup(uint32_t entries, Params* params) {
  const long result = syscall(uring::call_setup, entries, params);
  return result < 0 ? -errno : static_cast<int>(result);
}

int call_enter(int fd, uint32_t to_submit, uint32_t min_complete, uint32_t flags,
               const void* argument, size_t argument_size) {
  const long result =
      syscall(uring::call_enter, fd, to_submit, min_complete, flags, argument, argument_size);
  return result < 0 ? -errno : static_cast<int>(result);
}

// Head and tail are shared with the kernel: what the other side wrote before it moved its index
// is seen after an acquiring load; what is written here is published by a releasing store.
uint32_t load_acquire(const uint32_t* from) { return __atomic_load_n(from, __ATOMIC_ACQUIRE); }
void store_release(uint32_t* to, uint32_t value) { __atomic_store_n(to, value, __ATOMIC_RELEASE); }

template <class T>
T* at(uint8_t* base, uint32_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

}  // namespace

UringQueue::~UringQueue() {
  if (sqes_ != nullptr) CHECK(munmap(sqes_, sqes_bytes_) == 0);
  if (rings_ != nullptr) CHECK(munmap(rings_, rings_bytes_) == 0);
  if (fd_ >= 0) close(fd_);  // The kernel cancels what is left.
}

int UringQueue::open(uint32_t sq_entries, uint32_t cq_entries, RingLevel level) {
  CHECK(fd_ == -1);
  CHECK(cq_entries >= sq_entries);
  // By level. A kernel answers EINVAL to flags that it does not know.
  constexpr uint32_t plain = uring::setup::cq_size | uring::setup::clamp;
  constexpr uint32_t newer = plain | uring::setup::submit_all | uring::setup::taskrun_flag;
  constexpr uint32_t attempts[] = {
      newer | uring::setup::single_issuer | uring::setup::defer_taskrun,
      newer | uring::setup::coop_taskrun,
      plain,
  };
  constexpr uint32_t features_needed = uring::feature::single_mmap | uring::feature::no_drop |
                                       uring::feature::fast_poll | uring::feature::ext_arg;
  int error = -EINVAL;
  for (size_t attempt = static_cast<size_t>(level); attempt < std::size(attempts); attempt += 1) {
    Params params{};
    params.flags = attempts[attempt];
    params.cq_entries = cq_entries;
    const int result = call_setup(sq_entries, &params);
    if (result < 0) {
      error = result;
      if (error == -EINVAL) continue;
      return error;
    }
    fd_ = result;
    setup_flags_ = attempts[attempt];
    features_ = params.features;
    if ((features_ & features_needed) != features_needed) return -ENOSYS;
    return map(params);
  }
  return error;
}

int UringQueue::map(const Params& params) {
  const size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  const size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(Cqe);
  rings_bytes_ = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  void* rings = mmap(nullptr, rings_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_,
                     static_cast<off_t>(uring::offset_sq_ring));
  if (rings == MAP_FAILED) return -errno;
  rings_ = static_cast<uint8_t*>(rings);

  sqes_bytes_ = params.sq_entries * sizeof(Sqe);
  void* sqes = mmap(nullptr, sqes_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_,
                    static_cast<off_t>(uring::offset_sqes));
  if (sqes == MAP_FAILED) return -errno;
  sqes_ = static_cast<Sqe*>(sqes);

  sq_head_ = at<uint32_t>(rings_, params.sq_off.head);
  sq_tail_ = at<uint32_t>(rings_, params.sq_off.tail);
  sq_flags_ = at<uint32_t>(rings_, params.sq_off.flags);
  sq_mask_ = *at<uint32_t>(rings_, params.sq_off.ring_mask);
  cq_head_ = at<uint32_t>(rings_, params.cq_off.head);
  cq_tail_ = at<uint32_t>(rings_, params.cq_off.tail);
  cq_mask_ = *at<uint32_t>(rings_, params.cq_off.ring_mask);
  cqes_ = at<Cqe>(rings_, params.cq_off.cqes);
  CHECK(sq_mask_ + 1 == params.sq_entries);
  CHECK(cq_mask_ + 1 == params.cq_entries);

  // The ring names entries through an index array; entry i always sits at place i.
  uint32_t* array = at<uint32_t>(rings_, params.sq_off.array);
  for (uint32_t index = 0; index <= sq_mask_; index += 1) array[index] = index;
  sq_tail_local_ = *sq_tail_;
  return 0;
}

uint32_t UringQueue::sq_waiting() const { return sq_tail_local_ - load_acquire(sq_head_); }

uint32_t UringQueue::sq_space() const { return sq_mask_ + 1 - sq_waiting(); }

Sqe& UringQueue::sqe_next() {
  CHECK(sq_space() > 0);
  Sqe& sqe = sqes_[sq_tail_local_ & sq_mask_];
  sqe = Sqe{};
  sq_tail_local_ += 1;
  return sqe;
}

bool UringQueue::cq_overflown() const {
  return (load_acquire(sq_flags_) & uring::sq_flag::cq_overflow) != 0;
}

bool UringQueue::work_deferred() const {
  constexpr uint32_t flags = uring::sq_flag::taskrun | uring::sq_flag::cq_overflow;
  return (load_acquire(sq_flags_) & flags) != 0;
}

bool UringQueue::has_news() const { return cq_ready() > 0 || work_deferred(); }

uint32_t UringQueue::cq_ready() const { return load_acquire(cq_tail_) - *cq_head_; }

const Cqe& UringQueue::cq_front() const {
  CHECK(cq_ready() > 0);
  return cqes_[*cq_head_ & cq_mask_];
}

void UringQueue::cq_pop() { store_release(cq_head_, *cq_head_ + 1); }

int UringQueue::enter(uint32_t wait_ms) {
  store_release(sq_tail_, sq_tail_local_);
  const uint32_t to_submit = sq_waiting();
  if (to_submit == 0 && wait_ms == 0 && !work_deferred()) return 0;

  const uring::Timespec timeout{wait_ms / 1000, int64_t{wait_ms % 1000} * 1'000'000};
  uring::GeteventsArg argument{0, _NSIG / 8, 0, reinterpret_cast<uint64_t>(&timeout)};
  const bool waits = wait_ms > 0;
  const uint32_t flags = uring::enter::getevents | (waits ? uring::enter::ext_arg : 0);
  const int result = call_enter(fd_, to_submit, waits ? 1 : 0, flags, waits ? &argument : nullptr,
                                waits ? sizeof(argument) : 0);
  if (result >= 0) return 1;
  switch (-result) {
    case ETIME:   // The wait ran out.
    case EINTR:   // A signal: the caller's loop looks after it.
    case EAGAIN:  // No memory for a request now. What was not taken is offered again.
    case EBUSY:   // Completions must be reaped first.
      return 1;
    default:
      // EBADR: completions were lost. EBADF, EFAULT, EINVAL, EEXIST: this code is wrong.
      return result;
  }
}

int UringQueue::register_call(uint32_t operation, const void* argument, uint32_t count) {
  const long result = syscall(uring::call_register, fd_, operation, argument, count);
  return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace pacioli
