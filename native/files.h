// What node:fs cannot do with a file. Results are 0 or more, or a negative errno.
#pragma once

#include <cstdint>

namespace pacioli {

// Takes the advisory lock on the whole file without waiting; closing the descriptor (or the end
// of the process, however it comes) releases it. -EWOULDBLOCK: another holds it.
int file_lock(int fd);

// Gives the lock back now. Without it the lock goes with the last reference to the opening, and
// the kernel may keep one for a while after the descriptor was closed.
int file_unlock(int fd);

// Gives the range [0, size_bytes) real blocks, so that later writes cannot run out of space.
// -EOPNOTSUPP: the file system cannot; the caller writes zeros instead.
int file_preallocate(int fd, int64_t size_bytes);

// Bytes in a regular file or a block device; -EISDIR or -EINVAL for anything else.
int64_t file_size(int fd);

// Reads one sector at offset 0 with the alignment that the data file uses. 0 when the file was
// opened for Direct I/O and the file system serves it; an empty file serves too.
int file_probe_direct(int fd);

// Takes the file's pages out of the page cache as far as they are clean and nobody uses them. Where
// a page is cached, Linux makes a direct write that must not wait (io_uring's first attempt) fail,
// and a thread of the kernel's does it later. 0, or why the advice was refused.
int file_drop_cached(int fd);

}  // namespace pacioli
