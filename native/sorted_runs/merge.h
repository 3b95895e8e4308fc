// Merging sorted entries: see src/native/sorted-runs/kernels.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

constexpr unsigned merge_inputs_max = 8;

// Entries from `at` to `end`. `more` says that others follow that are not in memory yet.
struct MergeInput {
  const uint32_t* at;
  const uint32_t* end;
  bool more;
};

// Moves the smallest heads of `count` inputs (1 to merge_inputs_max) into `target`, one after the
// other, until it holds `room` entries, every input is at its end, or one with more to come is.
// Of equal heads that of the first input goes first. Moves each `at`; returns the entries written.
size_t merge_entries(MergeInput* inputs, unsigned count, unsigned words, uint32_t* target,
                     size_t room);

}  // namespace pacioli
