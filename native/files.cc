#include "files.h"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"

namespace pacioli {
namespace {

constexpr size_t sector_size = 4096;

#if defined(__linux__)
// _IOR(0x12, 114, size_t) of <linux/fs.h>, a header that not every system installs.
constexpr unsigned long block_device_size_request = _IOR(0x12, 114, size_t);

int64_t block_device_size(int fd) {
  uint64_t size_bytes = 0;
  if (ioctl(fd, block_device_size_request, &size_bytes) != 0) return -errno;
  return static_cast<int64_t>(size_bytes);
}
#else
int64_t block_device_size(int) { return -ENOTSUP; }
#endif

}  // namespace

int file_lock(int fd) {
  for (;;) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

int file_unlock(int fd) { return flock(fd, LOCK_UN) == 0 ? 0 : -errno; }

int file_preallocate(int fd, int64_t size_bytes) {
  CHECK(size_bytes > 0);
#if defined(__linux__)
  for (;;) {
    // fallocate, not posix_fallocate: the latter emulates silently where support is missing.
    if (fallocate(fd, 0, 0, size_bytes) == 0) return 0;
    if (errno != EINTR) return -errno;
  }
#elif defined(__APPLE__)
  fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, static_cast<off_t>(size_bytes), 0};
  if (fcntl(fd, F_PREALLOCATE, &store) != 0) return -errno;
  return ftruncate(fd, static_cast<off_t>(size_bytes)) == 0 ? 0 : -errno;
#else
  return -EOPNOTSUPP;
#endif
}

int64_t file_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (S_ISREG(status.st_mode)) return status.st_size;
  if (S_ISBLK(status.st_mode)) return block_device_size(fd);
  return S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
}

int file_probe_direct(int fd) {
  void* sector = std::aligned_alloc(page_size, sector_size);
  if (sector == nullptr) return -ENOMEM;
  ssize_t result;
  do {
    result = pread(fd, sector, sector_size, 0);
  } while (result < 0 && errno == EINTR);
  const int error = result < 0 ? -errno : 0;
  std::free(sector);
  return error;
}

int file_drop_cached(int fd) {
#if defined(__linux__)
  return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#else
  static_cast<void>(fd);
  return -EOPNOTSUPP;
#endif
}

}  // namespace pacioli
