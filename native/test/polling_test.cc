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

// A ring with a clock of its own: everything takes a microsecond.
struct Source {
  uint64_t now = 5000 * us;
  // What each `watch` says.
  bool news;
  // The `ask` that finds a completion.
  int found_at = 1'000'000;
  int asks = 0;

  uint64_t now_ns() const { return now; }
  int ask() {
    now += us;
    asks += 1;
    return asks >= found_at ? 1 : 0;
  }
  bool watch() {
    now += us;
    return news;
  }
  void yield() { now += us; }
};

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

TEST(polling_bound, "a try ends with its time, also when there is always news and never a completion") {
  for (const bool news : {false, true}) {
    Polling polling(100);
    Source source{.news = news};
    const uint64_t begun = source.now;
    EXPECT(polling.run(source) == 0);
    EXPECT(source.now - begun >= 100 * us);
    EXPECT(source.now - begun <= 103 * us);
    // The waits that pay for it do not even ask.
    const int asks = source.asks;
    EXPECT(polling.run(source) == 0);
    EXPECT(source.asks == asks);
    EXPECT(skips_before_next(polling, source.now) == 100 * us / Polling::share_ns - 1);
  }
}

TEST(polling_found, "a try ends with a completion, and costs nothing then") {
  for (const bool news : {false, true}) {
    Polling polling(100);
    Source source{.news = news, .found_at = 20};
    EXPECT(polling.run(source) == 1);
    EXPECT(source.asks == 20);
    EXPECT(polling.begin(source.now));
  }
}
