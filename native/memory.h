// Page-aligned memory, known by number. JavaScript names a buffer by its id when it describes an
// operation; the ring looks up base and size here, so that no address comes from JavaScript.
//
// Invariants: a buffer that the kernel may still touch is pinned and never unmapped; an id is
// given out again only after its buffer was freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pacioli {

constexpr size_t page_size = 4096;
constexpr uint32_t buffer_none = 0xffff'ffff;

class BufferRegistry {
 public:
  BufferRegistry() = default;
  BufferRegistry(const BufferRegistry&) = delete;
  BufferRegistry& operator=(const BufferRegistry&) = delete;

  // Zeroed memory, its size rounded up to pages. `large` advises huge pages and commits pages
  // only as they are touched. Returns buffer_none when the system has no memory to give.
  uint32_t allocate(size_t size_bytes, bool large);

  // Unmaps, a pinned buffer when its last pin goes. One whose pins never go stays mapped for ever:
  // a leak is better than the kernel writing into memory that belongs to somebody else by then.
  void free(uint32_t id);

  bool contains(uint32_t id) const { return id < buffers_.size() && buffers_[id].base != nullptr; }
  uint8_t* base(uint32_t id) const;
  size_t size_bytes(uint32_t id) const;

  // A kernel takes pages for memory when it is first touched. Any thread may touch pages that
  // another one uses: not a bit changes. The caller has the buffer pinned meanwhile.
  static void touch(uint8_t* base, size_t size_bytes);

  void pin(uint32_t id);
  void unpin(uint32_t id);

 private:
  struct Buffer {
    uint8_t* base;
    size_t size_bytes;
    uint32_t pins;
    // Its owner has given it up.
    bool freed;
  };

  void unmap(uint32_t id);

  std::vector<Buffer> buffers_;
  std::vector<uint32_t> ids_free_;
};

}  // namespace pacioli
