// The kernels of sorted runs on arrays that end where the entries do, so that the sanitizers see
// any access beyond. What they must compute is taken from the standard library.
#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "../sorted_runs/entry.h"
#include "../sorted_runs/filter.h"
#include "../sorted_runs/merge.h"
#include "../sorted_runs/probe.h"
#include "../sorted_runs/search.h"
#include "../sorted_runs/sort.h"
#include "test.h"

using namespace pacioli;

namespace {

using Words = std::vector<uint32_t>;
// The most significant word first, so that arrays compare as entries do.
using Value = std::array<uint32_t, 6>;

constexpr unsigned sizes[] = {entry_words_short, entry_words_long};

std::vector<Value> values(const Words& entries, unsigned words) {
  std::vector<Value> all(entries.size() / words);
  for (size_t index = 0; index < entries.size(); index += 1) {
    all[index / words][5 - index % words] = entries[index];
  }
  return all;
}

// Words from few values, so that entries agree in some of them, or from all.
Words draw(std::mt19937& random, size_t count, unsigned words, bool few) {
  Words entries(count * words);
  for (uint32_t& word : entries) {
    word = static_cast<uint32_t>(random());
    if (few) word = (word % 3) << (word % 32);
  }
  return entries;
}

void sort(Words& entries, unsigned words) {
  Words scratch(entries.size());
  sort_entries(entries.data(), entries.size() / words, words, scratch.data());
}

}  // namespace

TEST(sorts, "entries are sorted as integers") {
  std::mt19937 random(1);
  for (const unsigned words : sizes) {
    for (const bool few : {true, false}) {
      for (size_t count = 0; count < 3000; count = count * 5 / 4 + 1) {
        Words entries = draw(random, count, words, few);
        std::vector<Value> expected = values(entries, words);
        std::sort(expected.begin(), expected.end());
        sort(entries, words);
        EXPECT(values(entries, words) == expected);
      }
    }
  }
}

TEST(sorts_prefixes, "entries that agree in all bytes but the last are sorted as fast as others") {
  for (const unsigned words : sizes) {
    // Each level of the sort takes one entry off.
    Words entries;
    for (unsigned byte = 0; byte < words * 4; byte += 1) {
      for (unsigned copy = 0; copy < 40; copy += 1) {
        Words entry(words);
        reinterpret_cast<uint8_t*>(entry.data())[byte] = static_cast<uint8_t>(200 - copy);
        entries.insert(entries.end(), entry.begin(), entry.end());
      }
    }
    std::vector<Value> expected = values(entries, words);
    std::sort(expected.begin(), expected.end());
    sort(entries, words);
    EXPECT(values(entries, words) == expected);
  }
}

TEST(merges, "inputs are merged piece by piece, whatever their number and lengths") {
  std::mt19937 random(2);
  for (unsigned round = 0; round < 400; round += 1) {
    const unsigned words = sizes[round % 2];
    const unsigned count = 1 + random() % merge_inputs_max;
    Words inputs[merge_inputs_max];
    MergeInput cursors[merge_inputs_max];
    std::vector<Value> expected;
    for (unsigned index = 0; index < count; index += 1) {
      inputs[index] = draw(random, random() % 40, words, round % 3 == 0);
      sort(inputs[index], words);
      for (const Value& value : values(inputs[index], words)) expected.push_back(value);
      cursors[index] = {inputs[index].data(), inputs[index].data() + inputs[index].size(), false};
    }
    std::sort(expected.begin(), expected.end());
    Words merged;
    for (;;) {
      Words target((random() % 20) * words);
      const size_t room = target.size() / words;
      const size_t written = merge_entries(cursors, count, words, target.data(), room);
      EXPECT(written <= room);
      merged.insert(merged.end(), target.begin(), target.begin() + written * words);
      if (written < room) break;
    }
    EXPECT(values(merged, words) == expected);
    for (unsigned index = 0; index < count; index += 1) {
      EXPECT(cursors[index].at == cursors[index].end);
    }
  }
}

TEST(merge_waits, "a merge stops at the end of an input that has more to come") {
  const Words a = {1, 0, 1, 0, 5, 0, 5, 0};
  const Words b = {2, 0, 2, 0};
  MergeInput cursors[] = {{a.data(), a.data() + 8, false}, {b.data(), b.data() + 4, true}};
  Words target(12);
  EXPECT(merge_entries(cursors, 2, 4, target.data(), 3) == 2);
  EXPECT(cursors[0].at == a.data() + 4);
  EXPECT(merge_entries(cursors, 2, 4, target.data(), 3) == 0);
  cursors[1].more = false;
  EXPECT(merge_entries(cursors, 2, 4, target.data(), 3) == 1);
  EXPECT(target[0] == 5);
}

TEST(searches, "a search finds the first entry that is not below") {
  std::mt19937 random(3);
  for (const unsigned words : sizes) {
    for (size_t count = 0; count < 70; count += 1) {
      Words entries = draw(random, count, words, true);
      sort(entries, words);
      const std::vector<Value> all = values(entries, words);
      for (unsigned round = 0; round < 20; round += 1) {
        const Words key = draw(random, 1, words, true);
        const auto found = std::lower_bound(all.begin(), all.end(), values(key, words)[0]);
        EXPECT(search_entries(entries.data(), count, words, key.data()) ==
               static_cast<size_t>(found - all.begin()));
      }
    }
  }
}

TEST(filters, "a filter knows its ids, and few others") {
  std::mt19937 random(4);
  Words filter(filter_words);
  const Words ids = draw(random, filter_ids_max, 6, false);
  build_filter(filter.data(), ids.data() + 2, 6, filter_ids_max, 9);
  for (size_t index = 0; index < filter_ids_max; index += 1) {
    EXPECT(probe_filter(filter.data(), ids.data() + 2 + index * 6, 9));
  }
  size_t found = 0;
  for (size_t index = 0; index < 100'000; index += 1) {
    const Words id = draw(random, 1, 4, false);
    found += probe_filter(filter.data(), id.data(), 9) ? 1 : 0;
  }
  EXPECT(found < 40);
  build_filter(filter.data(), nullptr, 4, 0, 9);
  EXPECT(std::all_of(filter.begin(), filter.end(), [](uint32_t word) { return word == 0; }));
}

TEST(probes, "a probe finds what looking everywhere finds") {
  std::mt19937 random(5);
  for (unsigned round = 0; round < 60; round += 1) {
    const unsigned run_count = round % 10 == 0 ? probe_runs_max : random() % 6;
    const bool open = round % 2 == 0;
    std::vector<Words> fences(run_count);
    std::vector<Words> filters(run_count);
    std::vector<ProbeRun> runs(run_count);
    for (unsigned number = 0; number < run_count; number += 1) {
      const uint32_t blocks = random() % 12;
      // Each block has its first id only; the last fence is an id of its own.
      Words entries = draw(random, blocks == 0 ? 0 : blocks + 1, 6, true);
      sort(entries, 6);
      filters[number].assign(blocks * filter_words, open ? ~uint32_t{0} : 0);
      for (uint32_t block = 0; block < blocks && !open; block += 1) {
        build_filter(filters[number].data() + block * filter_words, entries.data() + block * 6 + 2,
                     6, 1, round);
      }
      fences[number] = entries;
      runs[number] = {fences[number].data(), filters[number].data(), blocks};
    }
    const size_t count = random() % 100;
    Words ids = draw(random, count, 4, true);
    Words offsets(count);
    for (size_t index = 0; index < count; index += 1) {
      offsets[index] = static_cast<uint32_t>(index * 4);
      const unsigned number = run_count == 0 ? 0 : random() % run_count;
      if (run_count == 0 || runs[number].blocks == 0 || random() % 2 == 0) continue;
      const size_t fence = random() % (runs[number].blocks + 1);
      std::copy_n(fences[number].begin() + fence * 6 + 2, 4, ids.begin() + index * 4);
    }
    Words expected;
    for (size_t index = 0; index < count; index += 1) {
      const Id id = load_id(ids.data() + offsets[index]);
      for (unsigned number = 0; number < run_count; number += 1) {
        const ProbeRun& run = runs[number];
        if (run.blocks == 0 || less(load_id(run.fences + run.blocks * 6 + 2), id)) continue;
        uint32_t after = 0;
        while (after < run.blocks && !less(id, load_id(run.fences + after * 6 + 2))) after += 1;
        if (after == 0) continue;
        if (!probe_filter(run.filters + (after - 1) * filter_words, ids.data() + offsets[index],
                          round)) {
          continue;
        }
        expected.insert(expected.end(), {static_cast<uint32_t>(index), number, after - 1});
      }
    }
    Words scratch(count * probe_scratch_words);
    Words candidates((random() % 200) * candidate_words);
    const size_t room = candidates.size() / candidate_words;
    const size_t total = probe_runs(ids.data(), offsets.data(), count, runs.data(), run_count,
                                    round, scratch.data(), candidates.data(), room);
    EXPECT(total == expected.size() / candidate_words);
    expected.resize(std::min(total, room) * candidate_words);
    candidates.resize(expected.size());
    EXPECT(candidates == expected);
  }
}

TEST(hostile_fences, "fences out of order lead to no block that a run does not have") {
  std::mt19937 random(6);
  for (unsigned round = 0; round < 200; round += 1) {
    const uint32_t blocks = 1 + random() % 20;
    const Words fences = draw(random, blocks + 1, 6, false);
    const Words filters(blocks * filter_words, ~uint32_t{0});
    const ProbeRun run = {fences.data(), filters.data(), blocks};
    const Words ids = draw(random, 200, 4, false);
    Words offsets(200);
    for (uint32_t index = 0; index < 200; index += 1) offsets[index] = index * 4;
    Words scratch(200 * probe_scratch_words);
    Words candidates(200 * candidate_words);
    const size_t total = probe_runs(ids.data(), offsets.data(), 200, &run, 1, 1, scratch.data(),
                                    candidates.data(), 200);
    EXPECT(total <= 200);
    for (size_t index = 0; index < total; index += 1) EXPECT(candidates[index * 3 + 2] < blocks);
  }
}
