// What one small durable write costs, and what stands around it: bench/durable-write.ts builds and runs
// this. All ways are taken in turn, a few operations each, so that what else the machine does hits
// them alike. Rounds in which other processes took much of the machine are not counted: a durable
// write needs threads of the kernel's, which wait for whoever computes. Printed are medians.
//
// Part 1, a write alone: by system call, through the ring with one thing changed at a time.
// Part 2, an exchange over TCP: a client sends a request and waits; the server writes it durably
// (the prepare), replies, and writes a sector that nobody waits for (the header). Both sides spin for
// as long as JavaScript takes in the real ones.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../native/check.h"
#include "../../native/clocks.h"
#include "../../native/uring/uring_queue.h"

using namespace pacioli;

namespace {

constexpr uint64_t kib = 1024;
constexpr uint64_t mib = 1024 * kib;
// Of the file: overwritten again and again, and merely allocated.
constexpr uint64_t written_bytes = 256 * mib;
constexpr uint64_t fresh_bytes = 512 * mib;
constexpr uint64_t fresh_at = written_bytes;
// As the journal's slots lie.
constexpr uint64_t slot_bytes = mib;
constexpr uint64_t header_at = 0;
constexpr int request_bytes = 384;
constexpr int reply_bytes = 288;

uint8_t* memory = nullptr;
int file = -1;
// The same file through the page cache.
int file_cached = -1;

struct Series {
  std::string name;
  std::vector<double> us;
  // Of the round under way.
  std::vector<double> round_us;

  void add(double measured) { round_us.push_back(measured); }

  void end_round(bool counts) {
    if (counts) us.insert(us.end(), round_us.begin(), round_us.end());
    round_us.clear();
  }

  double at(double share) {
    std::sort(us.begin(), us.end());
    return us.empty() ? 0 : us[static_cast<size_t>(share * static_cast<double>(us.size() - 1))];
  }
};

void print(std::vector<Series>& all) {
  const double base = all.front().at(0.5);
  std::printf("%-52s %8s %8s %8s %7s\n", "", "p10 us", "p50 us", "p90 us", "ratio");
  for (Series& series : all) {
    std::printf("%-52s %8.0f %8.0f %8.0f %7.2f\n", series.name.c_str(), series.at(0.1),
                series.at(0.5), series.at(0.9), series.at(0.5) / base);
  }
}

// Tells whether the machine was ours in a round.
class Quiet {
 public:
  // Shares of one processor.
  static constexpr double before_max = 0.3;
  static constexpr double others_max = 0.6;

  explicit Quiet(pid_t companion) : companion_(companion) {}

  // Waits for a quiet moment, until `until_ns` at most.
  void await(uint64_t until_ns) {
    while (monotonic_ns() < until_ns) {
      begin();
      usleep(200'000);
      if (others() < before_max) break;
    }
    begin();
  }

  bool held() { return others() < others_max; }

 private:
  struct Sample {
    double busy, all, own;
  };

  static double of_process(pid_t pid) {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE* stat = std::fopen(path, "r");
    CHECK(stat != nullptr);
    double user = 0;
    double system = 0;
    CHECK(std::fscanf(stat, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf", &user,
                      &system) == 2);
    std::fclose(stat);
    return user + system;
  }

  Sample sample() const {
    FILE* stat = std::fopen("/proc/stat", "r");
    CHECK(stat != nullptr);
    double ticks[8];
    CHECK(std::fscanf(stat, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &ticks[0], &ticks[1], &ticks[2],
                      &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]) == 8);
    std::fclose(stat);
    double all = 0;
    for (const double count : ticks) all += count;
    const double idle = ticks[3] + ticks[4];
    return {all - idle, all, of_process(getpid()) + (companion_ > 0 ? of_process(companion_) : 0)};
  }

  void begin() { begun_ = sample(); }

  double others() const {
    const Sample now = sample();
    const double processors = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
    const double wall = (now.all - begun_.all) / processors;
    if (wall <= 0) return 0;
    return (now.busy - begun_.busy - (now.own - begun_.own)) / wall;
  }

  const pid_t companion_;
  Sample begun_{};
};

void work(uint64_t us) {
  const uint64_t until = monotonic_ns() + us * 1000;
  while (monotonic_ns() < until) {
  }
}

// Takes all series in turn until enough rounds count, or the time is up.
template <class Run>
void count_rounds(int rounds, pid_t companion, std::vector<Series>& all, Run run) {
  constexpr uint64_t patience_ns = 300ull * 1'000'000'000;
  const uint64_t until_ns = monotonic_ns() + patience_ns;
  Quiet quiet(companion);
  int counted = 0;
  // The first round warms up.
  for (int round = 0; counted < rounds && monotonic_ns() < until_ns; round += 1) {
    quiet.await(until_ns);
    for (size_t index = 0; index < all.size(); index += 1) run(index);
    const bool counts = round > 0 && quiet.held();
    for (Series& series : all) series.end_round(counts);
    counted += counts;
  }
  if (counted < rounds) std::printf("only %d quiet rounds of %d\n", counted, rounds);
}

class RingUser {
 public:
  RingUser() {
    CHECK(queue_.open(256, 1024, RingLevel::newest) == 0);
    CHECK(queue_.register_call(uring::register_op::files, &file, 1) == 0);
    const iovec range{memory, 8 * mib};
    constexpr uint32_t register_buffers = 0;
    CHECK(queue_.register_call(register_buffers, &range, 1) == 0);
  }

  uring::Sqe& next(uint8_t opcode, int fd, uint64_t tag) {
    uring::Sqe& sqe = queue_.sqe_next();
    sqe.opcode = opcode;
    sqe.fd = fd;
    sqe.user_data = tag;
    return sqe;
  }

  uring::Sqe& write(uint64_t from, uint64_t length, uint64_t at, uint64_t tag) {
    uring::Sqe& sqe = next(uring::op::write, file, tag);
    sqe.addr = reinterpret_cast<uint64_t>(memory + from);
    sqe.len = static_cast<uint32_t>(length);
    sqe.off = at;
    sqe.op_flags = uring::rwf_dsync;
    return sqe;
  }

  void enter(uint32_t wait_ms) { CHECK(queue_.enter(wait_ms) >= 0); }

  // Polls for up to `us` before it waits, as native/uring/ring.cc does.
  void enter_polling(uint64_t us) {
    const uint64_t until_ns = monotonic_ns() + us * 1000;
    for (;;) {
      enter(0);
      if (queue_.cq_ready() > 0) return;
      constexpr uint64_t watch_ns = 5000;
      const uint64_t yield_ns = monotonic_ns() + watch_ns;
      while (!queue_.has_news() && monotonic_ns() < yield_ns) {
      }
      if (monotonic_ns() >= until_ns) break;
      if (!queue_.has_news()) sched_yield();
    }
    enter(10);
  }

  template <class OnDone>
  void reap(OnDone on_done) {
    while (queue_.cq_ready() > 0) {
      const uring::Cqe cqe = queue_.cq_front();
      queue_.cq_pop();
      on_done(cqe.user_data, cqe.res);
    }
  }

  // Until the operation with this tag has ended.
  void finish(uint64_t tag, int expected) {
    bool done = false;
    while (!done) {
      enter(10);
      reap([&](uint64_t ended, int result) {
        if (ended != tag) return;
        CHECK(result == expected);
        done = true;
      });
    }
  }

 private:
  UringQueue queue_;
};

constexpr uint64_t tag_write = 1;
constexpr uint64_t tag_other = 2;

void write_alone(int rounds) {
  RingUser plain;
  RingUser watching;
  RingUser receiving;
  watching.next(uring::op::poll_add, epoll_create1(0), tag_other).op_flags = EPOLLIN;
  watching.enter(0);
  for (uint64_t at = 0; at < 64; at += 1) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    uring::Sqe& sqe = receiving.next(uring::op::recv, ends[0], tag_other);
    sqe.addr = reinterpret_cast<uint64_t>(memory + 2 * mib + at * 4 * kib);
    sqe.len = 4 * kib;
    receiving.enter(0);
  }

  uint64_t slot = 0;
  uint64_t fresh = fresh_at;
  const auto next_slot = [&] { return (slot += slot_bytes) % written_bytes; };
  const auto call = [](uint64_t length, uint64_t at, int flags) {
    const iovec range{memory, length};
    CHECK(pwritev2(file, &range, 1, static_cast<off_t>(at), flags) ==
          static_cast<ssize_t>(length));
  };
  const auto ring = [](RingUser& user, uint64_t length, uint64_t at) {
    user.write(0, length, at, tag_write);
    user.finish(tag_write, static_cast<int>(length));
  };

  struct Way {
    const char* name;
    std::function<void()> run;
    std::function<void()> before = [] {};
  };
  const auto read_into_cache = [&] {
    const ssize_t read = pread(file_cached, memory + 7 * mib, 4 * kib,
                               static_cast<off_t>((slot + slot_bytes) % written_bytes));
    CHECK(read == 4 * static_cast<ssize_t>(kib));
  };
  const std::vector<Way> ways = {
      {"pwritev2", [&] { call(4 * kib, next_slot(), RWF_DSYNC); }},
      {"ring", [&] { ring(plain, 4 * kib, next_slot()); }},
      {"ring, libuv's descriptor polled", [&] { ring(watching, 4 * kib, next_slot()); }},
      {"ring, 64 receives armed", [&] { ring(receiving, 4 * kib, next_slot()); }},
      {"ring, registered file",
       [&] {
         uring::Sqe& sqe = plain.write(0, 4 * kib, next_slot(), tag_write);
         sqe.fd = 0;
         sqe.flags = uring::sqe_fixed_file;
         plain.finish(tag_write, 4 * kib);
       }},
      {"ring, registered file and buffer",
       [&] {
         uring::Sqe& sqe = plain.write(0, 4 * kib, next_slot(), tag_write);
         sqe.fd = 0;
         sqe.flags = uring::sqe_fixed_file;
         sqe.opcode = uring::op::write_fixed;
         plain.finish(tag_write, 4 * kib);
       }},
      {"ring, by a kernel thread (IOSQE_ASYNC)",
       [&] {
         constexpr uint8_t sqe_async = 1U << 4;
         plain.write(0, 4 * kib, next_slot(), tag_write).flags = sqe_async;
         plain.finish(tag_write, 4 * kib);
       }},
      {"ring, polled for up to 200 us",
       [&] {
         plain.write(0, 4 * kib, next_slot(), tag_write);
         bool done = false;
         while (!done) {
           plain.enter_polling(200);
           plain.reap([&](uint64_t, int) { done = true; });
         }
       }},
      {"pwritev2, over a cached page", [&] { call(4 * kib, next_slot(), RWF_DSYNC); },
       read_into_cache},
      {"ring, over a cached page", [&] { ring(plain, 4 * kib, next_slot()); }, read_into_cache},
      {"pwritev2, never written", [&] { call(4 * kib, fresh += 128 * kib, RWF_DSYNC); }},
      {"ring, never written", [&] { ring(plain, 4 * kib, fresh += 128 * kib); }},
      {"ring, 8 KiB", [&] { ring(plain, 8 * kib, next_slot()); }},
      {"pwritev2, not durable", [&] { call(4 * kib, next_slot(), 0); }},
      {"pwritev2 and fdatasync",
       [&] {
         call(4 * kib, next_slot(), 0);
         CHECK(fdatasync(file) == 0);
       }},
      {"ring, 1 MiB", [&] { ring(plain, mib, next_slot()); }},
      {"ring, 1 MiB, registered buffer",
       [&] {
         plain.write(0, mib, next_slot(), tag_write).opcode = uring::op::write_fixed;
         plain.finish(tag_write, mib);
       }},
  };
  std::vector<Series> all(ways.size());
  for (size_t index = 0; index < ways.size(); index += 1) all[index].name = ways[index].name;
  constexpr int per_round = 30;
  count_rounds(rounds, 0, all, [&](size_t index) {
    for (int count = 0; count < per_round; count += 1) {
      ways[index].before();
      const uint64_t begun_ns = monotonic_ns();
      ways[index].run();
      all[index].add(static_cast<double>(monotonic_ns() - begun_ns) / 1000);
    }
  });
  std::printf("\na durable write of 4 KiB, alone\n");
  print(all);
}

enum class Header { durable, plain, with_next, none };

struct Policy {
  const char* name;
  Header header;
  bool inline_write;
  uint32_t poll_us;
};

constexpr Policy policies[] = {
    {"as the server does: header right behind, durable", Header::durable, false, 0},
    {"header right behind, not durable", Header::plain, false, 0},
    {"header with the next prepare, durable", Header::with_next, false, 0},
    {"no header", Header::none, false, 0},
    {"prepare by pwritev2", Header::durable, true, 0},
    {"prepare by pwritev2, no header", Header::none, true, 0},
    {"polled for up to 20 us", Header::durable, false, 20},
    {"polled for up to 50 us", Header::durable, false, 50},
    {"polled for up to 200 us", Header::durable, false, 200},
    {"polled for up to 50 us, header with the next", Header::with_next, false, 50},
};

constexpr uint64_t tag_receive = 3;
constexpr uint64_t tag_prepare = 4;
constexpr uint64_t tag_send = 5;
constexpr uint64_t tag_header = 6;
constexpr uint64_t server_work_us = 14;
constexpr uint64_t client_work_us = 25;

// Serves until the client is gone. The first byte of a request names the policy.
void serve(int socket) {
  RingUser ring;
  uint8_t* request = memory + 4 * mib;
  uint8_t* reply = memory + 5 * mib;
  const auto receive = [&] {
    uring::Sqe& sqe = ring.next(uring::op::recv, socket, tag_receive);
    sqe.addr = reinterpret_cast<uint64_t>(request);
    sqe.len = request_bytes;
    sqe.op_flags = MSG_WAITALL;
  };
  uint64_t slot = 0;
  bool header_in_flight = false;
  bool header_waits = false;
  bool open = true;
  Policy policy = policies[0];
  const auto write_header = [&] {
    header_waits = false;
    header_in_flight = true;
    uring::Sqe& sqe = ring.write(64 * kib, 4 * kib, header_at, tag_header);
    if (policy.header == Header::plain) sqe.op_flags = 0;
  };
  const auto on_prepared = [&] {
    work(server_work_us);
    uring::Sqe& sqe = ring.next(uring::op::send, socket, tag_send);
    sqe.addr = reinterpret_cast<uint64_t>(reply);
    sqe.len = reply_bytes;
    sqe.op_flags = MSG_NOSIGNAL | MSG_WAITALL;
    header_waits = policy.header != Header::none;
    if (header_waits && policy.header != Header::with_next && !header_in_flight) write_header();
  };
  receive();
  while (open) {
    if (policy.poll_us > 0) ring.enter_polling(policy.poll_us);
    else ring.enter(10);
    bool received = false;
    ring.reap([&](uint64_t tag, int result) {
      if (tag == tag_receive) {
        if (result == request_bytes) received = true;
        else open = false;
      } else if (tag == tag_prepare) {
        CHECK(result == 4 * static_cast<int>(kib));
        on_prepared();
      } else if (tag == tag_header) {
        header_in_flight = false;
        if (header_waits && policy.header != Header::with_next) write_header();
      }
    });
    if (!received) continue;
    work(server_work_us);
    policy = policies[request[0]];
    slot = (slot + slot_bytes) % written_bytes;
    receive();
    if (policy.inline_write) {
      ring.enter(0);
      const iovec range{memory, 4 * kib};
      CHECK(pwritev2(file, &range, 1, static_cast<off_t>(slot_bytes + slot), RWF_DSYNC) ==
            4 * static_cast<ssize_t>(kib));
      on_prepared();
      continue;
    }
    ring.write(0, 4 * kib, slot_bytes + slot, tag_prepare);
    if (policy.header == Header::with_next && header_waits && !header_in_flight) write_header();
  }
}

int listen_on(int* port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(listen(listener, 1) == 0);
  socklen_t length = sizeof(address);
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  *port = ntohs(address.sin_port);
  return listener;
}

void exchange(int rounds) {
  int port;
  const int listener = listen_on(&port);
  const int one = 1;
  const pid_t server = fork();
  CHECK(server >= 0);
  if (server == 0) {
    const int socket = accept(listener, nullptr, nullptr);
    CHECK(setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    serve(socket);
    _exit(0);
  }
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);

  constexpr size_t count = sizeof(policies) / sizeof(policies[0]);
  std::vector<Series> all(count);
  for (size_t index = 0; index < count; index += 1) all[index].name = policies[index].name;
  std::vector<uint8_t> request(request_bytes);
  std::vector<uint8_t> reply(reply_bytes);
  constexpr int per_round = 40;
  count_rounds(rounds, server, all, [&](size_t index) {
    request[0] = static_cast<uint8_t>(index);
    for (int at = 0; at < per_round; at += 1) {
      const uint64_t begun_ns = monotonic_ns();
      CHECK(send(client, request.data(), request.size(), 0) == request_bytes);
      CHECK(recv(client, reply.data(), reply.size(), MSG_WAITALL) == reply_bytes);
      work(client_work_us);
      const double us = static_cast<double>(monotonic_ns() - begun_ns) / 1000;
      // The first ones still meet what the policy before has left.
      if (at >= 4) all[index].add(us);
    }
  });
  close(client);
  int status;
  CHECK(waitpid(server, &status, 0) == server);
  CHECK(status == 0);
  std::printf("\nrequest to request: %d us of work for the server, %d us for the client\n",
              static_cast<int>(2 * server_work_us), static_cast<int>(client_work_us));
  print(all);
}

void make_file(const char* path) {
  file = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0600);
  CHECK(file >= 0);
  file_cached = open(path, O_RDWR);
  CHECK(file_cached >= 0);
  CHECK(unlink(path) == 0);
  CHECK(fallocate(file, 0, 0, static_cast<off_t>(fresh_at + fresh_bytes)) == 0);
  for (uint64_t at = 0; at < fresh_at; at += mib) {
    CHECK(pwrite(file, memory, mib, static_cast<off_t>(at)) == static_cast<ssize_t>(mib));
  }
  CHECK(fsync(file) == 0);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: durable-write FILE ROUNDS\n");
    return 2;
  }
  memory = static_cast<uint8_t*>(mmap(nullptr, 8 * mib, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(memory != MAP_FAILED);
  std::memset(memory, 1, 8 * mib);
  const int rounds = std::atoi(arguments[2]);
  make_file(arguments[1]);
  // Before this process has threads of its rings' own.
  exchange(rounds);
  write_alone(rounds);
  return 0;
}
