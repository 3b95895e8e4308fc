// The checksum: AEGIS-128L as a 128-bit MAC, zero key, zero nonce, input absorbed as associated
// data. Three implementations of one function; the CPU decides which one runs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pacioli {

constexpr size_t checksum_size = 16;
constexpr size_t aegis_chunk_size = 32;
constexpr int aegis_setup_updates = 10;
constexpr int aegis_finish_updates = 7;

using ChecksumFunction = void (*)(uint8_t* target, const uint8_t* source, size_t length);

struct ChecksumImplementation {
  const char* name;
  ChecksumFunction compute;
};

// The fastest implementation that this CPU runs.
const ChecksumImplementation& checksum_implementation();

void checksum_portable(uint8_t* target, const uint8_t* source, size_t length);

// Null where the compiler's target or the running CPU lacks the instructions.
ChecksumFunction checksum_x86();
ChecksumFunction checksum_arm();

}  // namespace pacioli
