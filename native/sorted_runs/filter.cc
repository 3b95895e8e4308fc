#include "filter.h"

#include <algorithm>

#include "../check.h"

namespace pacioli {

static_assert(filter_words % filter_lanes == 0);

void build_filter(uint32_t* filter, const uint32_t* ids, size_t stride, size_t count,
                  uint32_t seed) {
  CHECK(count <= filter_ids_max);
  std::fill_n(filter, filter_words, 0u);
  for (size_t index = 0; index < count; index += 1) {
    const FilterHash hash = filter_hash(ids + index * stride, seed);
    uint32_t* bucket = filter + hash.word;
    for (size_t lane = 0; lane < filter_lanes; lane += 1) {
      bucket[lane] |= filter_bit(hash.lanes, lane);
    }
  }
}

bool probe_filter(const uint32_t* filter, const uint32_t* id, uint32_t seed) {
  const FilterHash hash = filter_hash(id, seed);
  return filter_contains(filter + hash.word, hash.lanes);
}

}  // namespace pacioli
