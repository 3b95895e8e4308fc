#include "ring_probe.h"

#include <memory>

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "uring_queue.h"

namespace pacioli {
namespace {

bool opcodes_complete(UringQueue& queue) {
  constexpr uint8_t needed[] = {
      uring::op::nop,     uring::op::fsync,        uring::op::poll_add, uring::op::timeout,
      uring::op::accept,  uring::op::async_cancel, uring::op::connect,  uring::op::close,
      uring::op::read,    uring::op::write,        uring::op::send,     uring::op::recv,
      uring::op::shutdown};
  const auto probe = std::make_unique<uring::Probe>();
  if (queue.register_call(uring::register_op::probe, probe.get(), 256) < 0) return false;
  for (const uint8_t operation : needed) {
    if (operation >= probe->ops_length) return false;
    if ((probe->ops[operation].flags & uring::probe_op_supported) == 0) return false;
  }
  return true;
}

bool durable_write_known() {
  const int fd = memfd_create("pacioli-probe", MFD_CLOEXEC);
  if (fd < 0) return false;
  char byte = 0;
  const iovec part{&byte, 1};
  const bool known = pwritev2(fd, &part, 1, 0, static_cast<int>(uring::rwf_dsync)) == 1;
  close(fd);
  return known;
}

}  // namespace

RingProbe probe_ring() {
  RingProbe probe;
  UringQueue queue;
  probe.error = queue.open(4, 8, RingLevel::newest);
  if (probe.error != 0) return probe;
  probe.setup_flags = queue.setup_flags();
  probe.features = queue.features();
  probe.opcodes_complete = opcodes_complete(queue);
  probe.durable_write = durable_write_known();
  return probe;
}

}  // namespace pacioli
