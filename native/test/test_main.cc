#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "test.h"

namespace pacioli::test {
namespace {

struct Test {
  const char* name;
  Body body;
};

std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

int files_made = 0;

std::string temporary_path() {
  const char* folder = std::getenv("TMPDIR");
  files_made += 1;
  return std::string(folder != nullptr ? folder : "/tmp") + "/pacioli-native-test-" +
         std::to_string(getpid()) + "-" + std::to_string(files_made);
}

}  // namespace

void add(const char* name, Body body) { tests().push_back({name, body}); }

TemporaryFile::TemporaryFile(int flags)
    : path_(temporary_path()), fd_(open(path_.c_str(), flags | O_RDWR | O_CREAT | O_EXCL, 0600)) {
  EXPECT(fd_ >= 0);
}

TemporaryFile::~TemporaryFile() {
  close(fd_);
  unlink(path_.c_str());
}

}  // namespace pacioli::test

int main() {
  using namespace pacioli::test;
  for (const Test& test : tests()) {
    std::printf("%s\n", test.name);
    std::fflush(stdout);
    test.body();
  }
  std::printf("%zu native tests passed\n", tests().size());
  return tests().empty() ? 1 : 0;
}
