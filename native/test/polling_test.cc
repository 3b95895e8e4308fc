#include "../uring/polling.h"

#include "test.h"

using namespace pacioli;

namespace {

constexpr uint64_t us = 1000;

uint64_t skips_before_next(Polling& polling, uint64_t now_ns) {
  uint64_t skips = 0;
  while (!polling.begin(now_ns)) skips += 1;
  return skips;
}

}  // namespace

TEST(polling_off, "without a limit nothing is tried") {
  Polling polling(0);
  for (uint64_t at = 0; at < 10; at += 1) EXPECT(!polling.begin(at));
}

TEST(polling_limit, "a try ends with its time, which waits without one make up for") {
  Polling polling(100);
  uint64_t now = 5000 * us;
  EXPECT(polling.begin(now));
  for (int count = 0; count < 9; count += 1, now += 10 * us) {
    EXPECT(polling.go_on(now + 9 * us, now + 10 * us));
  }
  EXPECT(!polling.go_on(now + 9 * us, now + 10 * us));
  EXPECT(skips_before_next(polling, now) == 100 * us / Polling::share_ns);
  // One that saw a completion costs nothing.
  EXPECT(polling.go_on(now, now + 50 * us));
  EXPECT(polling.begin(now));
}

TEST(polling_wanted, "a try ends with a yield that others used, and a slice lost makes a long rest") {
  Polling polling(100);
  const uint64_t now = 5000 * us;
  EXPECT(polling.begin(now));
  EXPECT(polling.go_on(now, now + Polling::yield_ns_max));
  EXPECT(!polling.go_on(now, now + Polling::yield_ns_max + 1));
  EXPECT(skips_before_next(polling, now) == (Polling::yield_ns_max + 1) / Polling::share_ns);
  EXPECT(!polling.go_on(now + 10 * us, now + 4010 * us));
  EXPECT(skips_before_next(polling, now) == 4010 * us / Polling::share_of_slice_ns);
}
