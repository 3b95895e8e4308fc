// The clocks, in nanoseconds.
#pragma once

#include <cstdint>
#include <ctime>

#include "check.h"

namespace pacioli {

constexpr uint64_t ns_per_s = 1'000'000'000;

inline uint64_t clock_ns(clockid_t clock) {
  timespec now;
  CHECK(clock_gettime(clock, &now) == 0);
  return static_cast<uint64_t>(now.tv_sec) * ns_per_s + static_cast<uint64_t>(now.tv_nsec);
}

// Goes on while the machine sleeps, as the wall clock does: the two are compared when replicas
// agree on the cluster's time.
inline uint64_t monotonic_ns() {
#if defined(__linux__)
  return clock_ns(CLOCK_BOOTTIME);
#else
  return clock_ns(CLOCK_MONOTONIC);
#endif
}

inline uint64_t wall_ns() { return clock_ns(CLOCK_REALTIME); }

}  // namespace pacioli
