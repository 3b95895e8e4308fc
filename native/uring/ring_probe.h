// What this kernel offers, found out once.
#pragma once

#include <cstdint>

namespace pacioli {

struct RingProbe {
  // 0, or the negative errno with which the kernel refuses io_uring.
  int error = 0;
  uint32_t setup_flags = 0;
  uint32_t features = 0;
  // Every operation that a descriptor can name is supported.
  bool opcodes_complete = false;
  // The kernel knows RWF_DSYNC. A file system may refuse it all the same (EOPNOTSUPP).
  bool durable_write = false;
};

RingProbe probe_ring();

}  // namespace pacioli
