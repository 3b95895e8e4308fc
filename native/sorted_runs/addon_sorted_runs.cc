// The kernels of sorted runs, for JavaScript: see src/native/sorted-runs/kernels.ts.
//
// JavaScript is trusted with the meaning of words, not with memory: every range is checked to lie
// in its array, and what is written not to overlap what is read, before a kernel runs. Memory that
// other threads may change meanwhile (a SharedArrayBuffer) is refused, since they could undo the
// checks. The arguments are all read before the first is looked at: reading them may run JavaScript
// of the caller's, which could take an array's memory away.
#include "../addon.h"
#include "../values.h"
#include "entry.h"
#include "filter.h"
#include "merge.h"
#include "probe.h"
#include "search.h"
#include "sort.h"

namespace pacioli {
namespace {

constexpr unsigned cursor_words = 3;
constexpr unsigned run_words = 3;

// Words that a kernel reads or writes.
struct Span {
  uint32_t* base;
  size_t length;
};

// False unless words[at … at + count · size) exist.
bool cut(const Words& words, size_t at, size_t count, size_t size, Span* out) {
  if (at > words.length || count > (words.length - at) / size) return false;
  *out = {words.base + at, count * size};
  return true;
}

bool overlap(const Span& a, const Span& b) {
  const auto address = [](const uint32_t* word) { return reinterpret_cast<uintptr_t>(word); };
  return a.length > 0 && b.length > 0 && address(a.base) < address(b.base + b.length) &&
         address(b.base) < address(a.base + a.length);
}

bool read_entry_words(napi_env env, napi_value value, unsigned* out) {
  size_t number;
  if (!read_size(env, value, &number)) return false;
  *out = static_cast<unsigned>(number);
  return number == entry_words_short || number == entry_words_long;
}

bool read_seed(napi_env env, napi_value value, uint32_t* out) {
  size_t number;
  if (!read_size(env, value, &number) || number > UINT32_MAX) return false;
  *out = static_cast<uint32_t>(number);
  return true;
}

// The elements of an Array of `max` word arrays at most; their number, or −1.
template <unsigned max>
int read_elements(napi_env env, napi_value list, napi_value (&out)[max]) {
  bool is_array;
  uint32_t count;
  if (napi_is_array(env, list, &is_array) != napi_ok || !is_array) return -1;
  if (napi_get_array_length(env, list, &count) != napi_ok || count > max) return -1;
  for (uint32_t index = 0; index < count; index += 1) {
    if (napi_get_element(env, list, index, &out[index]) != napi_ok) return -1;
  }
  return static_cast<int>(count);
}

napi_value outside(napi_env env) {
  return throw_range_error(env, "a range lies outside its array");
}

napi_value overlapping(napi_env env) {
  return throw_range_error(env, "what is written overlaps what is read");
}

napi_value call_sort_entries(napi_env env, napi_callback_info info) {
  Arguments<5> arguments;
  Words entries;
  Words scratch;
  size_t at;
  size_t count;
  unsigned words;
  if (!arguments.read(env, info) || !read_words(env, arguments.values[0], &entries) ||
      !read_size(env, arguments.values[1], &at) || !read_size(env, arguments.values[2], &count) ||
      !read_entry_words(env, arguments.values[3], &words) ||
      !read_words(env, arguments.values[4], &scratch)) {
    return throw_type_error(env, "sortEntries(entries, at, count, entryWords, scratch)");
  }
  Span sorted;
  Span room;
  if (!cut(entries, at, count, words, &sorted) || !cut(scratch, 0, count, words, &room)) {
    return outside(env);
  }
  if (overlap(sorted, room)) return overlapping(env);
  sort_entries(sorted.base, count, words, room.base);
  return nullptr;
}

napi_value call_merge_entries(napi_env env, napi_callback_info info) {
  Arguments<6> arguments;
  napi_value elements[merge_inputs_max];
  Words target;
  Words cursors;
  Words inputs[merge_inputs_max];
  size_t target_at;
  size_t room;
  unsigned words;
  const bool complete = arguments.read(env, info);
  const int count = complete ? read_elements(env, arguments.values[4], elements) : -1;
  if (count < 1 || !read_words(env, arguments.values[0], &target) ||
      !read_size(env, arguments.values[1], &target_at) ||
      !read_size(env, arguments.values[2], &room) ||
      !read_entry_words(env, arguments.values[3], &words) ||
      !read_words(env, arguments.values[5], &cursors)) {
    return throw_type_error(
        env, "mergeEntries(target, targetAt, room, entryWords, inputs, cursors): 1 to 8 inputs");
  }
  Span written;
  Span cursor;
  if (!cut(target, target_at, room, words, &written) ||
      !cut(cursors, 0, static_cast<size_t>(count), cursor_words, &cursor)) {
    return outside(env);
  }
  if (overlap(written, cursor)) return overlapping(env);
  MergeInput merged[merge_inputs_max];
  for (int index = 0; index < count; index += 1) {
    if (!read_words(env, elements[index], &inputs[index])) {
      return throw_type_error(env, "an input is no Uint32Array");
    }
    const uint32_t* range = cursor.base + index * cursor_words;
    if (range[1] < range[0] || (range[1] - range[0]) % words != 0) {
      return throw_range_error(env, "an input is no whole number of entries");
    }
    Span input;
    if (!cut(inputs[index], range[0], range[1] - range[0], 1, &input)) return outside(env);
    if (overlap(written, input) || overlap(cursor, input)) return overlapping(env);
    merged[index] = {input.base, input.base + input.length, range[2] != 0};
  }
  const size_t total =
      merge_entries(merged, static_cast<unsigned>(count), words, written.base, room);
  for (int index = 0; index < count; index += 1) {
    cursor.base[index * cursor_words] = static_cast<uint32_t>(merged[index].at - inputs[index].base);
  }
  return make_number(env, static_cast<double>(total));
}

napi_value call_build_filter(napi_env env, napi_callback_info info) {
  Arguments<7> arguments;
  Words filters;
  Words ids;
  size_t filter_at;
  size_t at;
  size_t stride;
  size_t count;
  uint32_t seed;
  if (!arguments.read(env, info) || !read_words(env, arguments.values[0], &filters) ||
      !read_size(env, arguments.values[1], &filter_at) ||
      !read_words(env, arguments.values[2], &ids) || !read_size(env, arguments.values[3], &at) ||
      !read_size(env, arguments.values[4], &stride) ||
      !read_size(env, arguments.values[5], &count) ||
      !read_seed(env, arguments.values[6], &seed)) {
    return throw_type_error(env, "buildFilter(filters, filterAt, ids, at, stride, count, seed)");
  }
  if (count > filter_ids_max || stride < 4) {
    return throw_range_error(env, "a filter is of 2,720 ids at most, four words or more apart");
  }
  Span filter;
  Span read;
  if (!cut(filters, filter_at, 1, filter_words, &filter)) return outside(env);
  // The last id need not be followed by a whole stride. A product that is too large for the array
  // may be too large for its type.
  if (count > 1 && stride > ids.length) return outside(env);
  if (!cut(ids, at, count == 0 ? 0 : (count - 1) * stride + 4, 1, &read)) return outside(env);
  if (overlap(filter, read)) return overlapping(env);
  build_filter(filter.base, read.base, stride, count, seed);
  return nullptr;
}

napi_value call_probe_filter(napi_env env, napi_callback_info info) {
  Arguments<5> arguments;
  Words filters;
  Words ids;
  size_t filter_at;
  size_t at;
  uint32_t seed;
  if (!arguments.read(env, info) || !read_words(env, arguments.values[0], &filters) ||
      !read_size(env, arguments.values[1], &filter_at) ||
      !read_words(env, arguments.values[2], &ids) || !read_size(env, arguments.values[3], &at) ||
      !read_seed(env, arguments.values[4], &seed)) {
    return throw_type_error(env, "probeFilter(filters, filterAt, ids, at, seed)");
  }
  Span filter;
  Span id;
  if (!cut(filters, filter_at, 1, filter_words, &filter) || !cut(ids, at, 1, 4, &id)) {
    return outside(env);
  }
  napi_value found;
  const bool contained = probe_filter(filter.base, id.base, seed);
  return napi_get_boolean(env, contained, &found) == napi_ok ? found : nullptr;
}

napi_value call_probe_runs(napi_env env, napi_callback_info info) {
  Arguments<9> arguments;
  napi_value fence_elements[probe_runs_max];
  napi_value filter_elements[probe_runs_max];
  Words ids;
  Words offsets;
  Words places;
  Words scratch;
  Words candidates;
  size_t count;
  uint32_t seed;
  const bool complete = arguments.read(env, info);
  const int run_count = complete ? read_elements(env, arguments.values[3], fence_elements) : -1;
  const int filter_count = complete ? read_elements(env, arguments.values[4], filter_elements) : -1;
  if (run_count < 0 || filter_count != run_count || !read_words(env, arguments.values[0], &ids) ||
      !read_words(env, arguments.values[1], &offsets) ||
      !read_size(env, arguments.values[2], &count) ||
      !read_words(env, arguments.values[5], &places) ||
      !read_seed(env, arguments.values[6], &seed) ||
      !read_words(env, arguments.values[7], &scratch) ||
      !read_words(env, arguments.values[8], &candidates)) {
    return throw_type_error(env,
                            "probeRuns(ids, offsets, count, fences, filters, places, seed, scratch, "
                            "candidates): 64 runs at most");
  }
  Span probed;
  Span room;
  Span placed;
  if (!cut(offsets, 0, count, 1, &probed) || !cut(scratch, 0, count, probe_scratch_words, &room) ||
      !cut(places, 0, static_cast<size_t>(run_count), run_words, &placed) || count > UINT32_MAX) {
    return outside(env);
  }
  const Span read = {ids.base, ids.length};
  const Span written = {candidates.base, candidates.length};
  for (const Span& input : {read, probed, placed}) {
    if (overlap(room, input) || overlap(written, input)) return overlapping(env);
  }
  if (overlap(room, written)) return overlapping(env);
  for (size_t index = 0; index < count; index += 1) {
    Span id;
    if (!cut(ids, probed.base[index], 1, 4, &id)) return outside(env);
  }
  ProbeRun runs[probe_runs_max];
  for (int index = 0; index < run_count; index += 1) {
    Words fences;
    Words filters;
    if (!read_words(env, fence_elements[index], &fences) ||
        !read_words(env, filter_elements[index], &filters)) {
      return throw_type_error(env, "fences or filters are no Uint32Array");
    }
    const uint32_t* place = placed.base + index * run_words;
    const size_t blocks = place[0];
    Span fence;
    Span filter;
    if (!cut(fences, place[1], blocks == 0 ? 0 : blocks + 1, entry_words_long, &fence) ||
        !cut(filters, place[2], blocks, filter_words, &filter)) {
      return outside(env);
    }
    for (const Span& input : {fence, filter}) {
      if (overlap(room, input) || overlap(written, input)) return overlapping(env);
    }
    runs[index] = {fence.base, filter.base, place[0]};
  }
  const size_t total =
      probe_runs(ids.base, probed.base, count, runs, static_cast<unsigned>(run_count), seed,
                 room.base, candidates.base, candidates.length / candidate_words);
  return make_number(env, static_cast<double>(total));
}

napi_value call_search_entries(napi_env env, napi_callback_info info) {
  Arguments<6> arguments;
  Words entries;
  Words keys;
  size_t at;
  size_t count;
  size_t key_at;
  unsigned words;
  if (!arguments.read(env, info) || !read_words(env, arguments.values[0], &entries) ||
      !read_size(env, arguments.values[1], &at) || !read_size(env, arguments.values[2], &count) ||
      !read_entry_words(env, arguments.values[3], &words) ||
      !read_words(env, arguments.values[4], &keys) ||
      !read_size(env, arguments.values[5], &key_at)) {
    return throw_type_error(env, "searchEntries(entries, at, count, entryWords, key, keyAt)");
  }
  Span searched;
  Span key;
  if (!cut(entries, at, count, words, &searched) || !cut(keys, key_at, 1, words, &key)) {
    return outside(env);
  }
  return make_number(env,
                     static_cast<double>(search_entries(searched.base, count, words, key.base)));
}

}  // namespace

void export_sorted_runs(Napi::Env env, Napi::Object exports) {
  set_function(env, exports, "sortEntries", call_sort_entries);
  set_function(env, exports, "mergeEntries", call_merge_entries);
  set_function(env, exports, "buildFilter", call_build_filter);
  set_function(env, exports, "probeFilter", call_probe_filter);
  set_function(env, exports, "probeRuns", call_probe_runs);
  set_function(env, exports, "searchEntries", call_search_entries);
}

}  // namespace pacioli
