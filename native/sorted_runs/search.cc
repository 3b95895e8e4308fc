#include "search.h"

#include "../check.h"
#include "entry.h"

namespace pacioli {
namespace {

// Halves without branching on what it compares: the outcomes are not to be predicted.
template <unsigned words>
size_t search(const Entry<words>* entries, size_t count, const Entry<words>& key) {
  if (count == 0) return 0;
  const Entry<words>* base = entries;
  size_t size = count;
  while (size > 1) {
    const size_t half = size / 2;
    base = less(base[half - 1], key) ? base + half : base;
    size -= half;
  }
  return static_cast<size_t>(base - entries) + (less(*base, key) ? 1 : 0);
}

}  // namespace

size_t search_entries(const uint32_t* entries, size_t count, unsigned words, const uint32_t* key) {
  CHECK(words == entry_words_short || words == entry_words_long);
  return words == entry_words_short
             ? search(reinterpret_cast<const Entry<entry_words_short>*>(entries), count,
                      *reinterpret_cast<const Entry<entry_words_short>*>(key))
             : search(reinterpret_cast<const Entry<entry_words_long>*>(entries), count,
                      *reinterpret_cast<const Entry<entry_words_long>*>(key));
}

}  // namespace pacioli
