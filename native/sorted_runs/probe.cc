// The ids are sorted first, so that each run's fences and filters are walked in one direction: the
// next id's fence is the same or one of the next, and filters are fetched ahead page by page. Ids
// in ascending order are sorted after one look; those outside a run are found by two searches and
// cost nothing more.
//
// The order of the fences is trusted for the result, not for memory: whatever the words are, every
// block found is one that the run has.
#include "probe.h"

#include <algorithm>

#include "../check.h"
#include "entry.h"
#include "filter.h"
#include "sort.h"

namespace pacioli {
namespace {

using IdEntry = Entry<entry_words_long>;

// Filters on their way into the cache at a time.
constexpr size_t group_size = 32;

Id id_of(const IdEntry& entry) { return load_id(entry.word + row_words); }

Id fence_id(const ProbeRun& run, size_t block) {
  return load_id(run.fences + block * entry_words_long + row_words);
}

// The last block whose first id is not above `id`, given that that of block `from` is not. Tries
// the next blocks first, then ever farther ones, then halves.
size_t block_of(const ProbeRun& run, size_t from, const Id& id) {
  size_t low = from;
  size_t step = 1;
  while (low + step < run.blocks && !less(id, fence_id(run, low + step))) {
    low += step;
    step *= 2;
  }
  size_t high = std::min<size_t>(low + step, run.blocks);
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    if (less(id, fence_id(run, middle))) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return low;
}

// The parts of the scratch memory.
struct Batch {
  IdEntry* sorted;    // The id's index in the call stands where entries have their row.
  FilterHash* hashes; // In the order of `sorted`.
  uint32_t* found;    // In the order of the call: a bit for each run that may hold the id.
};
constexpr size_t found_words = probe_runs_max / 32;
static_assert(probe_scratch_words == 2 * entry_words_long + 2 + found_words);

// Ids of the sorted batch that lie between a run's first and last.
struct Range {
  size_t begin;
  size_t end;
};

Range range_of(const ProbeRun& run, const IdEntry* sorted, size_t count) {
  if (run.blocks == 0) return {0, 0};
  const Id first = fence_id(run, 0);
  const Id last = fence_id(run, run.blocks);
  const IdEntry* end = sorted + count;
  const IdEntry* from = std::partition_point(
      sorted, end, [&](const IdEntry& entry) { return less(id_of(entry), first); });
  const IdEntry* to = std::partition_point(
      from, end, [&](const IdEntry& entry) { return !less(last, id_of(entry)); });
  return {static_cast<size_t>(from - sorted), static_cast<size_t>(to - sorted)};
}

void probe_run(const ProbeRun& run, unsigned number, const Batch& batch, const Range& range) {
  const uint32_t bit = uint32_t{1} << (number % 32);
  uint32_t* found = batch.found + number / 32;
  const uint32_t* buckets[group_size];
  size_t block = 0;
  for (size_t begin = range.begin; begin < range.end; begin += group_size) {
    const size_t size = std::min(group_size, range.end - begin);
    for (size_t index = 0; index < size; index += 1) {
      block = block_of(run, block, id_of(batch.sorted[begin + index]));
      buckets[index] = run.filters + block * filter_words + batch.hashes[begin + index].word;
      __builtin_prefetch(buckets[index]);
    }
    for (size_t index = 0; index < size; index += 1) {
      if (!filter_contains(buckets[index], batch.hashes[begin + index].lanes)) continue;
      found[batch.sorted[begin + index].word[0] * found_words] |= bit;
    }
  }
}

// Writes the blocks of what was found. Few ids are, so their fences are searched once more instead
// of being kept.
size_t write_candidates(const Batch& batch, const uint32_t* ids, const uint32_t* offsets,
                        size_t count, const ProbeRun* runs, uint32_t* candidates,
                        size_t candidates_max) {
  size_t total = 0;
  for (size_t index = 0; index < count; index += 1) {
    for (size_t half = 0; half < found_words; half += 1) {
      for (uint32_t bits = batch.found[index * found_words + half]; bits != 0; bits &= bits - 1) {
        const size_t number = half * 32 + static_cast<size_t>(std::countr_zero(bits));
        if (total < candidates_max) {
          uint32_t* candidate = candidates + total * candidate_words;
          candidate[0] = static_cast<uint32_t>(index);
          candidate[1] = static_cast<uint32_t>(number);
          candidate[2] =
              static_cast<uint32_t>(block_of(runs[number], 0, load_id(ids + offsets[index])));
        }
        total += 1;
      }
    }
  }
  return total;
}

}  // namespace

size_t probe_runs(const uint32_t* ids, const uint32_t* offsets, size_t count, const ProbeRun* runs,
                  unsigned run_count, uint32_t seed, uint32_t* scratch, uint32_t* candidates,
                  size_t candidates_max) {
  CHECK(run_count <= probe_runs_max);
  CHECK(count <= UINT32_MAX);
  uint32_t* sort_scratch = scratch + count * entry_words_long;
  uint32_t* hashes = sort_scratch + count * entry_words_long;
  const Batch batch = {reinterpret_cast<IdEntry*>(scratch), reinterpret_cast<FilterHash*>(hashes),
                       hashes + count * 2};
  for (size_t index = 0; index < count; index += 1) {
    uint32_t* entry = batch.sorted[index].word;
    entry[0] = static_cast<uint32_t>(index);
    entry[1] = 0;
    std::memcpy(entry + row_words, ids + offsets[index], sizeof(Id));
  }
  sort_entries(scratch, count, entry_words_long, sort_scratch);

  Range ranges[probe_runs_max];
  Range all = {count, 0};
  for (unsigned number = 0; number < run_count; number += 1) {
    const Range range = range_of(runs[number], batch.sorted, count);
    ranges[number] = range;
    if (range.begin == range.end) continue;
    all.begin = std::min(all.begin, range.begin);
    all.end = std::max(all.end, range.end);
  }
  if (all.begin >= all.end) return 0;
  for (size_t index = all.begin; index < all.end; index += 1) {
    batch.hashes[index] = filter_hash(batch.sorted[index].word + row_words, seed);
  }
  std::fill_n(batch.found, count * found_words, 0u);
  for (unsigned number = 0; number < run_count; number += 1) {
    probe_run(runs[number], number, batch, ranges[number]);
  }
  return write_candidates(batch, ids, offsets, count, runs, candidates, candidates_max);
}

}  // namespace pacioli
