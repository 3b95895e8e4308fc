#include "memory.h"

#include <sys/mman.h>

#include "check.h"

namespace pacioli {
namespace {

constexpr size_t huge_page_size = 2 * 1024 * 1024;

#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif

uint8_t* map(size_t size_bytes, int flags) {
  void* base = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (base == MAP_FAILED) return nullptr;
#if defined(MADV_DONTFORK)
  // A fork while a device writes into a page would give the page to the child and a stale copy to
  // this process (Linux before 5.19). Children run another program at once and miss nothing.
  static_cast<void>(madvise(base, size_bytes, MADV_DONTFORK));
#endif
  return static_cast<uint8_t*>(base);
}

// Huge pages need an aligned range, so more is mapped and both ends are given back.
uint8_t* map_large(size_t size_bytes) {
  const size_t mapped_bytes = size_bytes + huge_page_size;
  uint8_t* mapped = map(mapped_bytes, MAP_NORESERVE);
  if (mapped == nullptr) return nullptr;
  const size_t misaligned = reinterpret_cast<uintptr_t>(mapped) % huge_page_size;
  const size_t before = misaligned == 0 ? 0 : huge_page_size - misaligned;
  const size_t after = mapped_bytes - before - size_bytes;
  if (before > 0) CHECK(munmap(mapped, before) == 0);
  if (after > 0) CHECK(munmap(mapped + before + size_bytes, after) == 0);
#if defined(MADV_HUGEPAGE)
  // Advice: a kernel without huge pages refuses it and the memory works all the same.
  static_cast<void>(madvise(mapped + before, size_bytes, MADV_HUGEPAGE));
#endif
  return mapped + before;
}

}  // namespace

uint32_t BufferRegistry::allocate(size_t size_bytes, bool large) {
  CHECK(size_bytes > 0);
  if (size_bytes > SIZE_MAX / 2) return buffer_none;
  const size_t rounded = (size_bytes + page_size - 1) / page_size * page_size;
  uint8_t* base = large ? map_large(rounded) : map(rounded, 0);
  if (base == nullptr) return buffer_none;
  CHECK(reinterpret_cast<uintptr_t>(base) % page_size == 0);

  uint32_t id;
  if (ids_free_.empty()) {
    id = static_cast<uint32_t>(buffers_.size());
    buffers_.push_back({});
  } else {
    id = ids_free_.back();
    ids_free_.pop_back();
  }
  CHECK(buffers_[id].base == nullptr);
  buffers_[id] = {base, rounded, 0, false};
  return id;
}

void BufferRegistry::free(uint32_t id) {
  CHECK(contains(id));
  CHECK(!buffers_[id].freed);
  buffers_[id].freed = true;
  if (buffers_[id].pins == 0) unmap(id);
}

void BufferRegistry::unmap(uint32_t id) {
  CHECK(munmap(buffers_[id].base, buffers_[id].size_bytes) == 0);
  buffers_[id] = {};
  ids_free_.push_back(id);
}

void BufferRegistry::touch(uint8_t* base, size_t size_bytes) {
  // An atomic write of what is there: one that another thread makes meanwhile is not lost, and where
  // the exchange fails somebody has written. Not an `or` with 0, which compilers may turn into a load:
  // that maps the page of zeros that all share, and the first write would still find no page.
  for (size_t at = 0; at < size_bytes; at += page_size) {
    volatile uint8_t* byte = base + at;
    uint8_t seen = __atomic_load_n(byte, __ATOMIC_RELAXED);
    __atomic_compare_exchange_n(byte, &seen, seen, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
}

uint8_t* BufferRegistry::base(uint32_t id) const {
  CHECK(contains(id));
  return buffers_[id].base;
}

size_t BufferRegistry::size_bytes(uint32_t id) const {
  CHECK(contains(id));
  return buffers_[id].size_bytes;
}

void BufferRegistry::pin(uint32_t id) {
  CHECK(contains(id));
  buffers_[id].pins += 1;
}

void BufferRegistry::unpin(uint32_t id) {
  CHECK(contains(id));
  CHECK(buffers_[id].pins > 0);
  buffers_[id].pins -= 1;
  if (buffers_[id].pins == 0 && buffers_[id].freed) unmap(id);
}

}  // namespace pacioli
