// A filter says of an id whether it may be among the ids of one block of entries: no is certain.
// See src/native/sorted-runs/filter.ts, its twin, for the idea; the hash and every bit are equal.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

// Of one filter. A lane is a word, a bucket eight of them: one bit of each stands for an id.
constexpr size_t filter_words = 2304;
constexpr size_t filter_lanes = 8;
constexpr uint32_t filter_buckets = filter_words / filter_lanes;
// More make it answer yes too often.
constexpr size_t filter_ids_max = 2720;

struct FilterHash {
  // Of the bucket's first word.
  uint32_t word;
  uint32_t lanes;
};

inline uint32_t filter_mix(uint32_t hash) {
  hash ^= hash >> 16;
  hash *= 0x7feb'352d;
  hash ^= hash >> 15;
  hash *= 0x846c'a68b;
  return hash ^ (hash >> 16);
}

inline FilterHash filter_hash(const uint32_t* id, uint32_t seed) {
  uint32_t bucket = seed ^ 0x9159'015b;
  uint32_t lanes = seed ^ 0x152f'ecd9;
  for (unsigned index = 0; index < 4; index += 1) {
    bucket = (bucket ^ id[index]) * 0xcbbb'9d5du;
    bucket ^= bucket >> 15;
    lanes = (lanes ^ id[3 - index]) * 0x6733'2667u;
    lanes ^= lanes >> 15;
  }
  const uint64_t scaled = static_cast<uint64_t>(filter_mix(bucket)) * filter_buckets;
  return {static_cast<uint32_t>(scaled >> 32) * static_cast<uint32_t>(filter_lanes),
          filter_mix(lanes)};
}

// Odd, from the square roots of the first primes.
constexpr uint32_t filter_salts[filter_lanes] = {0x6a09'e667, 0xbb67'ae85, 0x3c6e'f373,
                                                 0xa54f'f53b, 0x510e'527f, 0x9b05'688d,
                                                 0x1f83'd9ab, 0x5be0'cd19};

inline uint32_t filter_bit(uint32_t lanes, size_t lane) {
  return uint32_t{1} << ((lanes * filter_salts[lane]) >> 27);
}

// Whether all bits of `lanes` are set in a bucket. Two lanes at a time: 15 of 16 absent ids are
// told by the first two, so that one branch is predicted well.
inline bool filter_contains(const uint32_t* bucket, uint32_t lanes) {
  for (size_t lane = 0; lane < filter_lanes; lane += 2) {
    const bool both = ((bucket[lane] & filter_bit(lanes, lane)) != 0) &
                      ((bucket[lane + 1] & filter_bit(lanes, lane + 1)) != 0);
    if (!both) return false;
  }
  return true;
}

// Writes the filter of `count` ids (filter_ids_max at most), one every `stride` words.
void build_filter(uint32_t* filter, const uint32_t* ids, size_t stride, size_t count,
                  uint32_t seed);

bool probe_filter(const uint32_t* filter, const uint32_t* id, uint32_t seed);

}  // namespace pacioli
