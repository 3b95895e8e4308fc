// An entry of a sorted run: one little-endian integer of four words (64-bit key) or six (128-bit
// key), its two lowest words a row, the others the key. Compared whole. Entries lie in arrays of
// words, so they are aligned to four bytes and no more.
//
// Nothing in this folder knows Node, allocates, or keeps state between calls.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pacioli {

static_assert(std::endian::native == std::endian::little, "entries are little-endian in memory");

constexpr unsigned row_words = 2;
constexpr unsigned entry_words_short = 4;
constexpr unsigned entry_words_long = 6;

template <unsigned words>
struct Entry {
  uint32_t word[words];
};
static_assert(sizeof(Entry<entry_words_long>) == 24 && alignof(Entry<entry_words_long>) == 4);

inline uint64_t load64(const uint32_t* words) {
  uint64_t value;
  std::memcpy(&value, words, sizeof(value));
  return value;
}

// Part 0 is the row; the last part is the most significant.
template <unsigned words>
inline uint64_t part(const Entry<words>& entry, unsigned index) {
  return load64(entry.word + 2 * index);
}

template <unsigned words>
inline bool less(const Entry<words>& a, const Entry<words>& b) {
  for (unsigned index = words / 2; index-- > 0;) {
    const uint64_t a_part = part(a, index);
    const uint64_t b_part = part(b, index);
    if (a_part != b_part) return a_part < b_part;
  }
  return false;
}

// A 128-bit id at any word.
struct Id {
  uint64_t low;
  uint64_t high;
};

inline Id load_id(const uint32_t* words) { return {load64(words), load64(words + 2)}; }

inline bool less(const Id& a, const Id& b) {
  return a.high != b.high ? a.high < b.high : a.low < b.low;
}

}  // namespace pacioli
