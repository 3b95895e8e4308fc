#include <cstring>
#include <string>
#include <vector>

#include "../aegis.h"
#include "test.h"

using namespace pacioli;

namespace {

std::vector<ChecksumImplementation> implementations() {
  std::vector<ChecksumImplementation> all = {{"portable", checksum_portable}};
  if (ChecksumFunction found = checksum_x86()) all.push_back({"aes-ni", found});
  if (ChecksumFunction found = checksum_arm()) all.push_back({"armv8-aes", found});
  return all;
}

std::string hex(const uint8_t (&bytes)[checksum_size]) {
  std::string text;
  char pair[3];
  for (const uint8_t byte : bytes) {
    std::snprintf(pair, sizeof(pair), "%02x", byte);
    text += pair;
  }
  return text;
}

std::vector<uint8_t> counting(size_t length) {
  std::vector<uint8_t> bytes(length);
  for (size_t at = 0; at < length; at += 1) bytes[at] = static_cast<uint8_t>(at);
  return bytes;
}

}  // namespace

TEST(vectors, "every implementation gives the protocol's vectors") {
  const struct {
    std::vector<uint8_t> input;
    const char* expected;
  } cases[] = {
      {{}, "83cc600dc4e3e7e62d4055826174f149"},
      {std::vector<uint8_t>(16), "f72ad48dd05dd1656133101cd4be3a26"},
      {std::vector<uint8_t>(1), "6e12b8774264fed574e418fe77b706bc"},
      {std::vector<uint8_t>(33), "6e8e73d4abef7c822c07fa88b3e9ae71"},
      {counting(31), "419e43b0a730e59ecedf48700b4d97ba"},
      {counting(32), "2a7ca5353eba9161dc6c83c36d2e6adb"},
      {counting(64), "b4e8e46cee04a401ec67bad73df4aa60"},
      {counting(256), "d6ba1c495ca4c976f5d0993644aa9acd"},
      {counting(1000), "8466d68cd1f58e7f5c2a4b57c021f56d"},
  };
  for (const ChecksumImplementation& implementation : implementations()) {
    for (const auto& item : cases) {
      uint8_t target[checksum_size];
      implementation.compute(target, item.input.data(), item.input.size());
      EXPECT(hex(target) == item.expected);
    }
  }
}

TEST(equality, "the implementations agree at every length and alignment") {
  // Exactly as long as the input, so that the sanitizer sees a read beyond it.
  for (size_t length = 0; length < 400; length += 1) {
    for (size_t offset = 0; offset < 17; offset += 4) {
      std::vector<uint8_t> bytes(offset + length);
      for (size_t at = 0; at < bytes.size(); at += 1) {
        bytes[at] = static_cast<uint8_t>(at * 167 + length);
      }
      uint8_t expected[checksum_size];
      checksum_portable(expected, bytes.data() + offset, length);
      for (const ChecksumImplementation& implementation : implementations()) {
        uint8_t target[checksum_size];
        implementation.compute(target, bytes.data() + offset, length);
        EXPECT(std::memcmp(target, expected, checksum_size) == 0);
      }
    }
  }
}

TEST(in_place, "the target may lie inside the input") {
  for (const ChecksumImplementation& implementation : implementations()) {
    std::vector<uint8_t> bytes = counting(100);
    uint8_t expected[checksum_size];
    implementation.compute(expected, bytes.data(), bytes.size());
    implementation.compute(bytes.data() + 40, bytes.data(), bytes.size());
    EXPECT(std::memcmp(bytes.data() + 40, expected, checksum_size) == 0);
  }
}
