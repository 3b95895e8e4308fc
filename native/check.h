// CHECK: an assertion that release builds keep. A broken invariant here could hand the kernel a
// wrong address or a wrong range of the data file, so the process stops at once.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace pacioli {

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "pacioli: CHECK failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace pacioli

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::pacioli::check_failed(#condition, __FILE__, __LINE__))
