// Probing runs for a batch of ids: see src/native/sorted-runs/kernels.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

constexpr unsigned probe_runs_max = 64;
// Per id: two entries to sort with, a hash, one bit per run.
constexpr size_t probe_scratch_words = 16;
// A candidate: index of the id, run, block.
constexpr size_t candidate_words = 3;

// A run of ids. Fences: the first entry of each block, and the last entry of the run; six words
// each, none for a run without blocks. Filters: one per block.
struct ProbeRun {
  const uint32_t* fences;
  const uint32_t* filters;
  uint32_t blocks;
};

// Finds the blocks that may hold ids[offsets[0 … count)]. Writes the first `candidates_max`
// candidates, by id, then by run, and returns how many there are.
size_t probe_runs(const uint32_t* ids, const uint32_t* offsets, size_t count, const ProbeRun* runs,
                  unsigned run_count, uint32_t seed, uint32_t* scratch, uint32_t* candidates,
                  size_t candidates_max);

}  // namespace pacioli
