// Sorting index entries: see src/native/sorted-runs/kernels.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

// Sorts `count` entries of `words` (4 or 6) words in place. `scratch` has room for as many entries
// and does not overlap them; what it holds afterwards means nothing.
void sort_entries(uint32_t* entries, size_t count, unsigned words, uint32_t* scratch);

}  // namespace pacioli
