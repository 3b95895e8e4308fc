// Memory, files and clocks.
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../clocks.h"
#include "../files.h"
#include "../memory.h"
#include "test.h"

using namespace pacioli;

TEST(memory_allocation, "buffers are aligned, zeroed, rounded to pages and apart") {
  BufferRegistry buffers;
  for (const bool large : {false, true}) {
    const uint32_t first = buffers.allocate(100, large);
    const uint32_t second = buffers.allocate(5000, large);
    EXPECT(first != second);
    EXPECT(buffers.size_bytes(first) == page_size);
    EXPECT(buffers.size_bytes(second) == 2 * page_size);
    for (const uint32_t id : {first, second}) {
      EXPECT(reinterpret_cast<uintptr_t>(buffers.base(id)) % page_size == 0);
      EXPECT(buffers.base(id)[0] == 0);
      std::memset(buffers.base(id), static_cast<int>(id) + 1, buffers.size_bytes(id));
    }
    EXPECT(buffers.base(first)[page_size - 1] == first + 1);
    buffers.free(first);
    buffers.free(second);
    EXPECT(!buffers.contains(first));
  }
}

TEST(memory_ids, "an id is given out again after it was freed, a pinned one is not") {
  BufferRegistry buffers;
  const uint32_t id = buffers.allocate(page_size, false);
  buffers.free(id);
  EXPECT(buffers.allocate(page_size, false) == id);
  buffers.pin(id);
  uint8_t* base = buffers.base(id);
  buffers.free(id);
  // Still mapped, as the kernel may write into it.
  base[0] = 1;
  EXPECT(buffers.contains(id));
  EXPECT(buffers.allocate(page_size, false) != id);
  munmap(base, page_size);
}

TEST(memory_refused, "memory that cannot be had is refused") {
  BufferRegistry buffers;
  EXPECT(buffers.allocate(SIZE_MAX, false) == buffer_none);
  EXPECT(buffers.allocate(SIZE_MAX / 4, false) == buffer_none);
  EXPECT(buffers.allocate(SIZE_MAX / 4, true) == buffer_none);
}

TEST(memory_large, "a large table commits only what is touched") {
  BufferRegistry buffers;
  const size_t size_bytes = size_t{64} * 1024 * 1024 * 1024;
  const uint32_t id = buffers.allocate(size_bytes, true);
  EXPECT(id != buffer_none);
  buffers.base(id)[0] = 1;
  buffers.base(id)[size_bytes - 1] = 1;
  buffers.free(id);
}

TEST(memory_touch, "touched pages are there and keep what is in them") {
  BufferRegistry buffers;
  constexpr size_t size_bytes = 64 * 4096;
  const uint32_t id = buffers.allocate(size_bytes, false);
  uint8_t* base = buffers.base(id);
  base[4096] = 0x5a;
  unsigned char present[64] = {};
  EXPECT(mincore(base, size_bytes, present) == 0);
  EXPECT((present[7] & 1) == 0);
  BufferRegistry::touch(base, 32 * 4096);
  EXPECT(mincore(base, size_bytes, present) == 0);
  for (int page = 0; page < 32; page += 1) EXPECT((present[page] & 1) == 1);
  EXPECT(base[4096] == 0x5a);
  EXPECT(base[0] == 0);
  buffers.free(id);
}

TEST(memory_committed, "a write into touched pages finds them there, a load would not do") {
  BufferRegistry buffers;
  constexpr int pages = 256;
  constexpr size_t size_bytes = pages * page_size;
  // Not large: a huge page would take one fault for all of them.
  const uint32_t id = buffers.allocate(size_bytes, false);
  volatile uint8_t* base = buffers.base(id);
  EXPECT(madvise(buffers.base(id), size_bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
  const auto faults = [] {
    rusage usage;
    EXPECT(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_minflt;
  };
  BufferRegistry::touch(buffers.base(id), size_bytes);
  const long before = faults();
  for (int page = 0; page < pages; page += 1) base[page * page_size] = 1;
  EXPECT(faults() - before < pages / 8);
  buffers.free(id);
}

TEST(memory_pins, "a pinned buffer is unmapped with its last pin, and its number given out then") {
  BufferRegistry buffers;
  const uint32_t id = buffers.allocate(4096, false);
  buffers.pin(id);
  buffers.pin(id);
  buffers.free(id);
  buffers.unpin(id);
  EXPECT(buffers.contains(id));
  buffers.base(id)[0] = 1;
  EXPECT(buffers.allocate(4096, false) != id);
  buffers.unpin(id);
  EXPECT(!buffers.contains(id));
  EXPECT(buffers.allocate(4096, false) == id);
}

TEST(file_locks, "a lock binds other openings of the file until it is closed") {
  test::TemporaryFile file(0);
  const int other = open(file.path().c_str(), O_RDWR);
  EXPECT(file_lock(other) == 0);
  EXPECT(file_lock(other) == 0);
  EXPECT(file_lock(file.fd()) == -EWOULDBLOCK);
  close(other);
  EXPECT(file_lock(file.fd()) == 0);
  EXPECT(file_lock(-1) == -EBADF);
  // Given back, although the opening lives on in a duplicate.
  const int duplicate = dup(file.fd());
  EXPECT(file_unlock(file.fd()) == 0);
  const int third = open(file.path().c_str(), O_RDWR);
  EXPECT(file_lock(third) == 0);
  for (const int fd : {duplicate, third}) close(fd);
  EXPECT(file_unlock(-1) == -EBADF);
}

TEST(file_space, "preallocation gives size and blocks, or says why not") {
  test::TemporaryFile file(0);
  const int64_t size_bytes = 3 * 1024 * 1024;
  EXPECT(file_size(file.fd()) == 0);
  EXPECT(file_preallocate(file.fd(), size_bytes) == 0);
  EXPECT(file_size(file.fd()) == size_bytes);
  struct stat status;
  EXPECT(fstat(file.fd(), &status) == 0);
  EXPECT(status.st_blocks * 512 >= size_bytes);
  EXPECT(file_preallocate(file.fd(), INT64_MAX) == -EFBIG);
  EXPECT(file_preallocate(-1, 1) == -EBADF);
}

TEST(file_kinds, "sizes are those of files and devices alone") {
  const int folder = open("/", O_RDONLY);
  EXPECT(file_size(folder) == -EISDIR);
  close(folder);
  const int device = open("/dev/null", O_RDONLY);
  EXPECT(file_size(device) == -EINVAL);
  close(device);
  EXPECT(file_size(-1) == -EBADF);
}

TEST(file_direct, "the probe reads a sector") {
  test::TemporaryFile file(O_DIRECT);
  EXPECT(file_probe_direct(file.fd()) == 0);
  EXPECT(file_preallocate(file.fd(), 8192) == 0);
  EXPECT(file_probe_direct(file.fd()) == 0);
  EXPECT(file_probe_direct(-1) == -EBADF);
}

TEST(file_cache, "pages that were written back leave the page cache, and nothing else changes") {
  test::TemporaryFile file(0);
  std::vector<char> bytes(16 * page_size, 'x');
  EXPECT(pwrite(file.fd(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  const auto cached = [&] {
    void* mapped = mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, file.fd(), 0);
    EXPECT(mapped != MAP_FAILED);
    std::vector<unsigned char> pages(16);
    EXPECT(mincore(mapped, bytes.size(), pages.data()) == 0);
    EXPECT(munmap(mapped, bytes.size()) == 0);
    int count = 0;
    for (const unsigned char page : pages) count += page & 1;
    return count;
  };
  EXPECT(cached() == 16);
  EXPECT(fdatasync(file.fd()) == 0);
  EXPECT(file_drop_cached(file.fd()) == 0);
  EXPECT(cached() == 0);
  std::vector<char> again(bytes.size());
  EXPECT(pread(file.fd(), again.data(), again.size(), 0) == static_cast<ssize_t>(again.size()));
  EXPECT(again == bytes);
  EXPECT(file_drop_cached(-1) == -EBADF);
}

TEST(clocks, "clocks tell the time and go forward") {
  const uint64_t wall = wall_ns() / ns_per_s;
  const uint64_t now = static_cast<uint64_t>(time(nullptr));
  EXPECT(wall + 1 >= now && wall <= now + 1);
  uint64_t last = monotonic_ns();
  EXPECT(last > 0);
  for (int count = 0; count < 1000; count += 1) {
    const uint64_t next = monotonic_ns();
    EXPECT(next >= last);
    last = next;
  }
}
