// Whether to ask for completions for a while before sleeping. A processor that sleeps takes longer to
// wake than many a short operation takes: on virtual machines 15 to 30 us. Asking costs the time of a
// processor instead, so it ends where that buys nothing, and where others want the processor.
//
// Invariants: a try ends with the first look or yield that begins before limit_us have passed and ends
// after, whatever it saw but a completion; what failed tries took is spread over the waits after them,
// which make no try.
#pragma once

#include <cstdint>

namespace pacioli {

class Polling {
 public:
  // A yield that takes longer has shown that others use the processor; for as long as a slice of the
  // scheduler's, that somebody computes. Nanoseconds.
  static constexpr uint64_t yield_ns_max = 60'000;
  static constexpr uint64_t slice_ns = 500'000;
  // Of a failed try, borne by each wait after it: of one that took time of ours alone or little of
  // it, and of one that lost a slice. Nanoseconds.
  static constexpr uint64_t share_ns = 8'000;
  static constexpr uint64_t share_of_slice_ns = 500;

  // Waits without a try after a failed one, at most.
  static constexpr uint64_t skips_max = 20'000;

  // 0 never polls.
  explicit Polling(uint32_t limit_us) : limit_ns_(uint64_t{limit_us} * 1000) {}

  // A try before a wait, if one is due. A `Source` has a clock, `now_ns`; `ask` for completions: 1 when
  // there are some, 0, or a negative errno; `watch` for news for a short while; and `yield`.
  // Returns what the last `ask` did, 0 without a try: then the caller sleeps.
  template <class Source>
  int run(Source& source) {
    if (!begin(source.now_ns())) return 0;
    for (bool news = false;;) {
      const int result = source.ask();
      if (result != 0) return result;
      // News need not make a completion: a receive may wait for more than has come.
      if (news) {
        const uint64_t now_ns = source.now_ns();
        if (!go_on(now_ns, now_ns)) return 0;
      }
      news = source.watch();
      if (news) continue;
      const uint64_t before_ns = source.now_ns();
      source.yield();
      if (!go_on(before_ns, source.now_ns())) return 0;
    }
  }

  // Before a wait that is expected to be short: whether to try this time.
  bool begin(uint64_t now_ns) {
    if (limit_ns_ == 0) return false;
    if (skips_left_ > 0) {
      skips_left_ -= 1;
      return false;
    }
    begun_ns_ = now_ns;
    return true;
  }

  // After a yield from `before_ns` to `after_ns`, or none, without a completion until then: whether to go on.
  bool go_on(uint64_t before_ns, uint64_t after_ns) {
    const uint64_t yield_ns = after_ns - before_ns;
    const uint64_t taken_ns = after_ns - begun_ns_;
    if (yield_ns <= yield_ns_max && taken_ns < limit_ns_) return true;
    const uint64_t skips = taken_ns / (yield_ns >= slice_ns ? share_of_slice_ns : share_ns);
    // A machine that was stopped for a minute says nothing about others that want the processor.
    skips_left_ = skips < skips_max ? skips : skips_max;
    return false;
  }

 private:
  const uint64_t limit_ns_;
  uint64_t begun_ns_ = 0;
  uint64_t skips_left_ = 0;
};

}  // namespace pacioli
