// Searching sorted entries: see src/native/sorted-runs/kernels.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

// The index of the first of `count` entries that is not below `key`, itself a whole entry of
// `words` (4 or 6) words; `count` when all are below.
size_t search_entries(const uint32_t* entries, size_t count, unsigned words, const uint32_t* key);

}  // namespace pacioli
