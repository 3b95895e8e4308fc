// The kernel's io_uring interface, as far as it is used here. Written out, so that a build needs
// neither liburing nor new kernel headers; test/uring_abi_test.cc compares it with <linux/io_uring.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli::uring {

constexpr long call_setup = 425;
constexpr long call_enter = 426;
constexpr long call_register = 427;

struct Sqe {
  uint8_t opcode;
  uint8_t flags;
  uint16_t ioprio;
  int32_t fd;
  uint64_t off;  // Also the address length pointer or a second address.
  uint64_t addr;
  uint32_t len;
  uint32_t op_flags;
  uint64_t user_data;
  uint16_t buf_index;
  uint16_t personality;
  uint32_t file_index;
  uint64_t addr3;
  uint64_t reserved;
};
static_assert(sizeof(Sqe) == 64);
static_assert(offsetof(Sqe, off) == 8);
static_assert(offsetof(Sqe, op_flags) == 28);
static_assert(offsetof(Sqe, user_data) == 32);

struct Cqe {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};
static_assert(sizeof(Cqe) == 16);

struct SqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved1;
  uint64_t reserved2;
};
struct CqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved1;
  uint64_t reserved2;
};
struct Params {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
  uint32_t reserved[3];
  SqOffsets sq_off;
  CqOffsets cq_off;
};
static_assert(sizeof(Params) == 120);

struct Timespec {
  int64_t seconds;
  int64_t nanoseconds;
};
static_assert(sizeof(Timespec) == 16);

struct GeteventsArg {
  uint64_t sigmask;
  uint32_t sigmask_size;
  uint32_t pad;
  uint64_t timespec;
};
static_assert(sizeof(GeteventsArg) == 24);

struct FilesUpdate {
  uint32_t offset;
  uint32_t reserved;
  uint64_t fds;
};
static_assert(sizeof(FilesUpdate) == 16);

// Makes a table of buffers, for now of empty places.
struct ResourceRegister {
  uint32_t count;
  uint32_t flags;
  uint64_t reserved;
  uint64_t data;
  uint64_t tags;
};
static_assert(sizeof(ResourceRegister) == 32);

// Fills places of such a table.
struct ResourceUpdate {
  uint32_t offset;
  uint32_t reserved1;
  uint64_t data;
  uint64_t tags;
  uint32_t count;
  uint32_t reserved2;
};
static_assert(sizeof(ResourceUpdate) == 32);

struct ProbeOp {
  uint8_t op;
  uint8_t reserved1;
  uint16_t flags;
  uint32_t reserved2;
};
struct Probe {
  uint8_t last_op;
  uint8_t ops_length;
  uint16_t reserved1;
  uint32_t reserved2[3];
  ProbeOp ops[256];
};
static_assert(sizeof(Probe) == 16 + 256 * 8);

namespace op {
constexpr uint8_t nop = 0, fsync = 3, read_fixed = 4, write_fixed = 5, poll_add = 6, timeout = 11,
                  accept = 13, async_cancel = 14, connect = 16, close = 19, read = 22, write = 23,
                  send = 26, recv = 27, shutdown = 34;
}

namespace setup {
constexpr uint32_t cq_size = 1U << 3, clamp = 1U << 4, submit_all = 1U << 7, coop_taskrun = 1U << 8,
                   taskrun_flag = 1U << 9, single_issuer = 1U << 12, defer_taskrun = 1U << 13;
}

namespace feature {
constexpr uint32_t single_mmap = 1U << 0, no_drop = 1U << 1, fast_poll = 1U << 5, ext_arg = 1U << 8;
}

namespace sq_flag {
constexpr uint32_t cq_overflow = 1U << 1, taskrun = 1U << 2;
}

namespace enter {
constexpr uint32_t getevents = 1U << 0, ext_arg = 1U << 3;
}

namespace register_op {
constexpr uint32_t unregister_buffers = 1, files = 2, unregister_files = 3, eventfd = 4,
                   files_update = 6, probe = 8, buffers2 = 15, buffers_update = 16;
}

constexpr uint64_t offset_sq_ring = 0;
constexpr uint64_t offset_sqes = 0x10000000;
constexpr uint8_t sqe_fixed_file = 1U << 0;
constexpr uint32_t register_sparse = 1U << 0;
constexpr uint32_t fsync_datasync = 1U << 0;
constexpr uint16_t probe_op_supported = 1U << 0;
constexpr uint32_t rwf_dsync = 2;

}  // namespace pacioli::uring
