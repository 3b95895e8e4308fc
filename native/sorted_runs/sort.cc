// A radix sort from the most significant byte on, stable, between two arrays.
//
// One byte position splits a range into 256 buckets, and each bucket is sorted by itself. Positions
// that are equal in the whole range are skipped, which most are: ids and rows that were given out
// in sequence differ in a few bytes. A range that is in order already is left alone after one look,
// and since the entries of one key come in the order of their rows, a bucket of one key is.
//
// Each level settles at least one more byte of the entry, so the depth is bounded by its size and
// the time by size · count whatever the entries are.
#include "sort.h"

#include <algorithm>

#include "../check.h"
#include "entry.h"

namespace pacioli {
namespace {

// Ranges up to here are sorted by insertion: clearing 256 counters costs more.
constexpr size_t insertion_max = 24;

template <unsigned words>
void sort_by_insertion(Entry<words>* entries, size_t count) {
  for (size_t index = 1; index < count; index += 1) {
    const Entry<words> entry = entries[index];
    size_t to = index;
    for (; to > 0 && less(entry, entries[to - 1]); to -= 1) entries[to] = entries[to - 1];
    entries[to] = entry;
  }
}

template <unsigned words>
bool in_order(const Entry<words>* entries, size_t count) {
  for (size_t index = 1; index < count; index += 1) {
    if (less(entries[index], entries[index - 1])) return false;
  }
  return true;
}

// The most significant byte in which entries differ, counted from the least significant one. Looks
// at no more entries than it takes: two random ids differ in their first byte.
template <unsigned words>
size_t first_difference(const Entry<words>* entries, size_t count) {
  constexpr size_t parts = words / 2;
  uint64_t differences[parts] = {};
  for (size_t index = 1; index < count; index += 1) {
    for (unsigned at = 0; at < parts; at += 1) {
      differences[at] |= part(entries[index], at) ^ part(entries[0], at);
    }
    if (differences[parts - 1] >> 56 != 0) break;
  }
  for (size_t at = parts; at-- > 0;) {
    if (differences[at] != 0) return at * 8 + (63 - std::countl_zero(differences[at])) / 8;
  }
  CHECK(!"entries out of order differ");
  return 0;
}

// Sorts entries[0 … count), and leaves the result there if `stay`, in `other` if not.
template <unsigned words>
void sort_range(Entry<words>* entries, Entry<words>* other, size_t count, bool stay) {
  const bool small = count <= insertion_max;
  if (small || in_order(entries, count)) {
    if (small) sort_by_insertion(entries, count);
    if (!stay) std::copy_n(entries, count, other);
    return;
  }
  const size_t byte = first_difference(entries, count);
  const auto digit = [byte](const Entry<words>& entry) {
    return reinterpret_cast<const uint8_t*>(entry.word)[byte];
  };
  size_t ends[256] = {};
  for (size_t index = 0; index < count; index += 1) ends[digit(entries[index])] += 1;
  size_t total = 0;
  for (size_t& end : ends) {
    const size_t size = end;
    end = total; // The bucket's start until its entries have moved it to the end.
    total += size;
  }
  for (size_t index = 0; index < count; index += 1) {
    const Entry<words> entry = entries[index];
    other[ends[digit(entry)]++] = entry;
  }
  size_t start = 0;
  for (const size_t end : ends) {
    if (end > start) sort_range(other + start, entries + start, end - start, !stay);
    start = end;
  }
}

template <unsigned words>
void sort_all(uint32_t* entries, size_t count, uint32_t* scratch) {
  sort_range(reinterpret_cast<Entry<words>*>(entries), reinterpret_cast<Entry<words>*>(scratch),
             count, true);
}

}  // namespace

void sort_entries(uint32_t* entries, size_t count, unsigned words, uint32_t* scratch) {
  CHECK(words == entry_words_short || words == entry_words_long);
  if (words == entry_words_short) {
    sort_all<entry_words_short>(entries, count, scratch);
  } else {
    sort_all<entry_words_long>(entries, count, scratch);
  }
}

}  // namespace pacioli
