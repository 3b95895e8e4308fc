// The smallest harness that does: tests register themselves, EXPECT ends the program on failure.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace pacioli::test {

using Body = void (*)();

// Registered by the TEST macro, run by main in test_main.cc.
void add(const char* name, Body body);

struct Registration {
  Registration(const char* name, Body body) { add(name, body); }
};

[[noreturn]] inline void fail(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: expected %s\n", file, line, what);
  std::exit(1);
}

// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(int flags);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
};

}  // namespace pacioli::test

#define EXPECT(condition) \
  ((condition) ? static_cast<void>(0) : ::pacioli::test::fail(#condition, __FILE__, __LINE__))

#define TEST(identifier, name)                                                         \
  static void identifier();                                                            \
  static const ::pacioli::test::Registration registration_##identifier(name, identifier); \
  static void identifier()
