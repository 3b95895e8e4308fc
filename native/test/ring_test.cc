#include "../uring/ring.h"

#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../uring/ring_probe.h"
#include "../uring/sockets.h"
#include "test.h"

using namespace pacioli;

namespace {

// A ring driven as JavaScript drives it: through its shared memory alone.
class Driver {
 public:
  explicit Driver(RingOptions options, RingLevel level = RingLevel::newest) {
    options.level = level;
    EXPECT(Ring::create(options, buffers, &ring) == 0);
    control = reinterpret_cast<Control*>(buffers.base(ring->control_id()));
    pending = reinterpret_cast<uint32_t*>(buffers.base(ring->pending_id()));
    completions = reinterpret_cast<CompletionEntry*>(buffers.base(ring->completions_id()));
  }

  Descriptor& describe(uint32_t slot, uint32_t opcode, int handle) {
    Descriptor& descriptor = ring->descriptor(slot);
    descriptor = Descriptor{};
    descriptor.opcode = opcode;
    descriptor.handle = static_cast<uint32_t>(handle);
    return descriptor;
  }

  void move(uint32_t slot, uint32_t opcode, int handle, uint32_t buffer, uint32_t at,
            uint32_t length, uint64_t offset, uint32_t flags) {
    Descriptor& descriptor = describe(slot, opcode, handle);
    descriptor.buffer_id = buffer;
    descriptor.buffer_at = at;
    descriptor.length = length;
    descriptor.offset_low = static_cast<uint32_t>(offset);
    descriptor.offset_high = static_cast<uint32_t>(offset >> 32);
    descriptor.flags = flags;
    queue(slot);
  }

  void queue(uint32_t slot) {
    pending[control->queue_tail & (ring->options().slots - 1)] = slot;
    control->queue_tail += 1;
  }

  // Turns until `count` completions have come; results by slot.
  std::map<uint32_t, int32_t> reap(size_t count) {
    std::map<uint32_t, int32_t> results;
    for (int turn = 0; turn < 10'000 && results.size() < count; turn += 1) {
      const int reaped = ring->enter(100);
      EXPECT(reaped >= 0);
      for (int index = 0; index < reaped; index += 1) {
        EXPECT(results.count(completions[index].slot) == 0);
        results[completions[index].slot] = completions[index].result;
      }
    }
    EXPECT(results.size() == count);
    return results;
  }

  BufferRegistry buffers;
  std::unique_ptr<Ring> ring;
  Control* control;
  uint32_t* pending;
  CompletionEntry* completions;
};

RingOptions small(uint32_t entries, uint32_t slots) {
  RingOptions options;
  options.entries = entries;
  options.slots = slots;
  return options;
}

constexpr RingLevel levels[] = {RingLevel::newest, RingLevel::cooperative, RingLevel::plain};

}  // namespace

TEST(probe, "the probe finds what the ring needs") {
  const RingProbe found = probe_ring();
  EXPECT(found.error == 0);
  EXPECT(found.opcodes_complete);
  EXPECT(found.durable_write);
}

TEST(file_round_trip, "a file is written durably and read back, by descriptor and registered") {
  for (const RingLevel level : levels) {
    Driver driver(small(8, 16), level);
    test::TemporaryFile file(O_DIRECT);
    const uint32_t buffer = driver.buffers.allocate(32 * 1024, false);
    std::memset(driver.buffers.base(buffer), 7, 16 * 1024);
    const uint64_t far = uint64_t{5} << 32;
    driver.move(3, opcode::write, file.fd(), buffer, 0, 16 * 1024, far, flag::durable);
    EXPECT(driver.reap(1)[3] == 16 * 1024);

    EXPECT(driver.ring->register_file(2, file.fd()) == 0);
    driver.move(4, opcode::read, 2, buffer, 16 * 1024, 16 * 1024, far, flag::fixed_file);
    EXPECT(driver.reap(1)[4] == 16 * 1024);
    EXPECT(std::memcmp(driver.buffers.base(buffer), driver.buffers.base(buffer) + 16 * 1024,
                       16 * 1024) == 0);
    driver.describe(5, opcode::sync, 2).flags = flag::fixed_file;
    driver.queue(5);
    EXPECT(driver.reap(1)[5] == 0);
    EXPECT(driver.ring->register_file(2, -1) == 0);
    driver.queue(5);
    EXPECT(driver.reap(1)[5] == -EBADF);
    EXPECT(driver.ring->in_kernel() == 0);
  }
}

TEST(registered_buffers, "registered buffers and others move the same bytes, in and out of a file") {
  for (const RingLevel level : levels) {
    Driver driver(small(8, 16), level);
    test::TemporaryFile file(O_DIRECT);
    const uint32_t kept = driver.buffers.allocate(32 * 1024, false);
    const uint32_t other = driver.buffers.allocate(32 * 1024, false);
    EXPECT(driver.ring->register_buffer(kept) == -ENOSPC);
    EXPECT(driver.ring->reserve_buffers(1) == 0);
    EXPECT(driver.ring->register_buffer(kept) == 0);
    EXPECT(driver.ring->register_buffer(other) == -ENOSPC);
    EXPECT(driver.ring->register_file(15, file.fd()) == 0);
    for (uint32_t at = 0; at < 32 * 1024; at += 1) {
      driver.buffers.base(kept)[at] = static_cast<uint8_t>(at / 4096 + 1);
    }
    driver.move(0, opcode::write, 15, kept, 8192, 16 * 1024, 4096, flag::durable | flag::fixed_file);
    EXPECT(driver.reap(1)[0] == 16 * 1024);
    driver.move(1, opcode::write, file.fd(), other, 0, 4096, 0, 0);
    driver.move(2, opcode::read, file.fd(), other, 4096, 16 * 1024, 4096, 0);
    EXPECT(driver.reap(2)[2] == 16 * 1024);
    EXPECT(std::memcmp(driver.buffers.base(other) + 4096, driver.buffers.base(kept) + 8192,
                       16 * 1024) == 0);
    driver.move(3, opcode::read, 15, kept, 28 * 1024, 4096, 12 * 1024, flag::fixed_file);
    EXPECT(driver.reap(1)[3] == 4096);
    EXPECT(driver.buffers.base(kept)[28 * 1024] == 5);
    // Cut short at the end of the file, as ever.
    driver.move(4, opcode::read, 15, kept, 0, 32 * 1024, 16 * 1024, flag::fixed_file);
    EXPECT(driver.reap(1)[4] == 4096);
  }
}

TEST(fixed_write_flags, "the kernel looks at the flags of a write from a registered buffer") {
  UringQueue queue;
  EXPECT(queue.open(4, 8, RingLevel::newest) == 0);
  test::TemporaryFile file(O_DIRECT);
  BufferRegistry buffers;
  const uint32_t buffer = buffers.allocate(4096, false);
  const iovec range{buffers.base(buffer), 4096};
  constexpr uint32_t register_buffers = 0;
  EXPECT(queue.register_call(register_buffers, &range, 1) == 0);
  const auto write = [&](uint32_t flags) {
    uring::Sqe& sqe = queue.sqe_next();
    sqe.opcode = uring::op::write_fixed;
    sqe.fd = file.fd();
    sqe.addr = reinterpret_cast<uint64_t>(range.iov_base);
    sqe.len = 4096;
    sqe.op_flags = flags;
    EXPECT(queue.enter(1000) == 1);
    const int result = queue.cq_front().res;
    queue.cq_pop();
    return result;
  };
  EXPECT(write(uring::rwf_dsync) == 4096);
  constexpr uint32_t unknown_flag = 1U << 30;
  EXPECT(write(unknown_flag) == -EOPNOTSUPP);
}

TEST(registered_end, "a registered buffer is mapped until its ring ends, a registered file open") {
  for (const RingLevel level : levels) {
    test::TemporaryFile file(0);
    const int locked = open(file.path().c_str(), O_RDWR | O_CLOEXEC);
    EXPECT(flock(locked, LOCK_EX | LOCK_NB) == 0);
    Driver driver(small(8, 16), level);
    const uint32_t buffer = driver.buffers.allocate(4096, false);
    EXPECT(driver.ring->reserve_buffers(4) == 0);
    EXPECT(driver.ring->register_buffer(buffer) == 0);
    EXPECT(driver.ring->register_file(0, locked) == 0);
    driver.move(0, opcode::write, 0, buffer, 0, 4096, 0, flag::fixed_file);
    EXPECT(driver.reap(1)[0] == 4096);
    driver.buffers.free(buffer);
    EXPECT(driver.buffers.contains(buffer));
    close(locked);
    EXPECT(flock(file.fd(), LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    driver.ring.reset();
    EXPECT(!driver.buffers.contains(buffer));
    EXPECT(flock(file.fd(), LOCK_EX | LOCK_NB) == 0);
  }
}

// In a process of its own, that may lock no more memory than any user's.
TEST(locked_memory, "beyond the limit of locked memory buffers are refused, and serve all the same") {
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2]{};
    EXPECT(syscall(SYS_capset, &header, none) == 0);
    const rlimit limit{64 * 1024, 64 * 1024};
    EXPECT(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    Driver driver(small(8, 16));
    test::TemporaryFile file(O_DIRECT);
    const uint32_t buffer = driver.buffers.allocate(1024 * 1024, false);
    EXPECT(driver.ring->reserve_buffers(4) == 0);
    EXPECT(driver.ring->register_buffer(buffer) == -ENOMEM);
    driver.move(0, opcode::write, file.fd(), buffer, 0, 1024 * 1024, 0, flag::durable);
    EXPECT(driver.reap(1)[0] == 1024 * 1024);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(status == 0);
}

TEST(polling, "a ring that polls before it waits sees writes, and all that ends meanwhile") {
  for (const RingLevel level : levels) {
    RingOptions options = small(8, 16);
    // Longer than any write: the waits below end by a completion, or sleep after all.
    options.poll_us = 20'000;
    Driver driver(options, level);
    test::TemporaryFile file(O_DIRECT);
    const uint32_t buffer = driver.buffers.allocate(8192, false);
    int ends[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    for (uint32_t count = 0; count < 50; count += 1) {
      driver.move(0, opcode::receive, ends[0], buffer, 4096, 10, 0, flag::whole);
      driver.move(1, opcode::write, file.fd(), buffer, 0, 4096, 4096 * count, flag::durable);
      driver.move(2, opcode::send, ends[1], buffer, 0, 10, 0, 0);
      const std::map<uint32_t, int32_t> results = driver.reap(3);
      EXPECT(results.at(0) == 10);
      EXPECT(results.at(1) == 4096);
      EXPECT(results.at(2) == 10);
    }
    // With nothing of a file in flight it sleeps at once, and to the end.
    EXPECT(driver.ring->enter(1) == 0);
    for (const int end : ends) close(end);
  }
}

TEST(full_ring, "what does not fit the kernel's rings stays queued, and nothing is lost") {
  for (const RingLevel level : levels) {
    RingOptions options = small(2, 512);
    options.completions_max = 5;
    Driver driver(options, level);
    test::TemporaryFile file(0);
    const uint32_t buffer = driver.buffers.allocate(512 * 1024, false);
    for (int round = 0; round < 3; round += 1) {
      for (uint32_t slot = 0; slot < 512; slot += 1) {
        driver.move(slot, opcode::write, file.fd(), buffer, slot * 1024, 1024, slot * 1024, 0);
      }
      for (const auto& [slot, result] : driver.reap(512)) EXPECT(result == 1024);
    }
    EXPECT(driver.control->pressure > 0);
    EXPECT(driver.control->queue_head == driver.control->queue_tail);
  }
}

TEST(sockets_pair, "bytes pass a pair of sockets, a whole receive waits for its length") {
  for (const RingLevel level : levels) {
    Driver driver(small(8, 16), level);
    int ends[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const uint32_t buffer = driver.buffers.allocate(8192, false);
    std::memset(driver.buffers.base(buffer), 9, 300);
    driver.move(0, opcode::receive, ends[0], buffer, 4096, 300, 0, flag::whole);
    EXPECT(driver.ring->enter(1) == 0);
    driver.move(1, opcode::send, ends[1], buffer, 0, 100, 0, 0);
    EXPECT(driver.reap(1)[1] == 100);
    EXPECT(driver.ring->enter(1) == 0);
    driver.move(1, opcode::send, ends[1], buffer, 100, 200, 0, 0);
    std::map<uint32_t, int32_t> results = driver.reap(2);
    EXPECT(results[0] == 300);
    EXPECT(results[1] == 200);
    EXPECT(driver.buffers.base(buffer)[4096 + 299] == 9);

    driver.describe(2, opcode::shutdown, ends[1]);
    driver.queue(2);
    EXPECT(driver.reap(1)[2] == 0);
    driver.move(0, opcode::receive, ends[0], buffer, 0, 10, 0, 0);
    EXPECT(driver.reap(1)[0] == 0);
    for (const int end : ends) {
      driver.describe(2, opcode::close, end);
      driver.queue(2);
      EXPECT(driver.reap(1)[2] == 0);
    }
  }
}

TEST(network, "listen, accept and connect over IPv4") {
  Driver driver(small(8, 16));
  uint8_t address[address_bytes_max];
  int length = address_parse("127.0.0.1", 0, address);
  EXPECT(length > 0);
  const int listener = socket_listen(address, static_cast<uint32_t>(length), 8);
  EXPECT(listener >= 0);
  const int port = socket_port(listener);
  EXPECT(port > 0);
  driver.describe(0, opcode::accept, listener);
  driver.queue(0);

  length = address_parse("127.0.0.1", static_cast<uint16_t>(port), address);
  const int client = socket_open(address);
  EXPECT(client >= 0);
  EXPECT(socket_configure(client) == 0);
  Descriptor& connect = driver.describe(1, opcode::connect, client);
  std::memcpy(connect.extra, address, sizeof(address));
  connect.length = static_cast<uint32_t>(length);
  driver.queue(1);
  std::map<uint32_t, int32_t> results = driver.reap(2);
  EXPECT(results[1] == 0);
  EXPECT(results[0] >= 0);
  EXPECT(socket_shutdown(client) == 0);
  close(results[0]);
  close(client);
  close(listener);
}

TEST(addresses, "numeric addresses alone are taken") {
  uint8_t address[address_bytes_max];
  EXPECT(address_parse("::1", 3001, address) > 0);
  EXPECT(address_parse("0.0.0.0", 0, address) > 0);
  for (const char* host : {"", "localhost", "1.2.3", "1.2.3.4.5", "::g", "127.0.0.1:80"}) {
    EXPECT(address_parse(host, 1, address) == -EINVAL);
  }
}

TEST(timeouts, "a timeout ends with -ETIME, a canceled one with -ECANCELED") {
  for (const RingLevel level : levels) {
    Driver driver(small(8, 16), level);
    const auto timeout = [&](uint32_t slot, int64_t seconds, int64_t nanoseconds) {
      const int64_t time[2] = {seconds, nanoseconds};
      std::memcpy(driver.describe(slot, opcode::timeout, 0).extra, time, sizeof(time));
      driver.queue(slot);
    };
    timeout(0, 0, 2'000'000);
    EXPECT(driver.reap(1)[0] == -ETIME);
    EXPECT(driver.completions[0].duration_us >= 2000);
    timeout(0, 3600, 0);
    EXPECT(driver.ring->enter(1) == 0);
    EXPECT(driver.ring->in_kernel() == 1);
    driver.describe(1, opcode::cancel, 0);
    driver.queue(1);
    std::map<uint32_t, int32_t> results = driver.reap(2);
    EXPECT(results[0] == -ECANCELED);
    EXPECT(results[1] == 0);
    driver.queue(1);
    EXPECT(driver.reap(1)[1] == -ENOENT);
  }
}

TEST(wake, "a readable descriptor ends the wait, once per call") {
  const int event = eventfd(0, EFD_CLOEXEC);
  Driver driver(small(8, 16));
  driver.ring->set_wake_fd(event);
  EXPECT(driver.ring->enter(1) == 0);
  EXPECT(driver.control->wake == 0);
  const uint64_t one = 1;
  EXPECT(write(event, &one, sizeof(one)) == sizeof(one));
  EXPECT(driver.ring->enter(60'000) == 0);
  EXPECT(driver.control->wake == 1);
  uint64_t value;
  EXPECT(read(event, &value, sizeof(value)) == sizeof(value));
  EXPECT(driver.ring->enter(1) == 0);
  EXPECT(driver.control->wake == 0);
  close(event);
}

TEST(eventfd_signal, "a registered eventfd tells of completions without an enter") {
  for (const RingLevel level : levels) {
    const int event = eventfd(0, EFD_CLOEXEC);
    Driver driver(small(8, 16), level);
    EXPECT(driver.ring->register_eventfd(event) == 0);
    int ends[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const uint32_t buffer = driver.buffers.allocate(4096, false);
    driver.move(0, opcode::receive, ends[0], buffer, 0, 10, 0, 0);
    EXPECT(driver.ring->enter(0) == 0);
    EXPECT(write(ends[1], "x", 1) == 1);
    uint64_t value;
    EXPECT(read(event, &value, sizeof(value)) == sizeof(value));
    EXPECT(driver.ring->enter(0) == 1);
    EXPECT(driver.completions[0].result == 1);
    for (const int fd : {ends[0], ends[1], event}) close(fd);
  }
}

TEST(abandoned, "a ring that ends with operations in flight leaves their buffers mapped") {
  int ends[2];
  EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  Driver driver(small(8, 16));
  const uint32_t buffer = driver.buffers.allocate(4096, false);
  const uint32_t kept = driver.buffers.allocate(4096, false);
  EXPECT(driver.ring->reserve_buffers(4) == 0);
  EXPECT(driver.ring->register_buffer(kept) == 0);
  driver.move(0, opcode::receive, ends[0], buffer, 0, 10, 0, 0);
  EXPECT(driver.ring->enter(0) == 0);
  driver.ring.reset();
  for (const uint32_t id : {buffer, kept}) {
    driver.buffers.free(id);
    EXPECT(driver.buffers.contains(id));
  }
  for (const int end : ends) close(end);
}
