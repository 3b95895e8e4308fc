// AEGIS-128L with the AES instructions of ARMv8. AESE adds its key before SubBytes and
// ShiftRows, x86's AESENC after MixColumns; with a zero key and an XOR behind, they agree.
#include <cstring>

#include "aegis_tables.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__clang__)
#define PACIOLI_AES __attribute__((target("aes")))
#else
#define PACIOLI_AES __attribute__((target("+crypto")))
#endif

namespace pacioli {
namespace {

using Block = uint8x16_t;

PACIOLI_AES inline Block load(const void* from) {
  return vld1q_u8(static_cast<const uint8_t*>(from));
}

PACIOLI_AES inline Block round(Block in, Block key) {
  return veorq_u8(vaesmcq_u8(vaeseq_u8(in, vdupq_n_u8(0))), key);
}

PACIOLI_AES inline void update(Block* s, Block a, Block b) {
  const Block last = s[7];
  s[7] = round(s[6], s[7]);
  s[6] = round(s[5], s[6]);
  s[5] = round(s[4], s[5]);
  s[4] = round(s[3], veorq_u8(s[4], b));
  s[3] = round(s[2], s[3]);
  s[2] = round(s[1], s[2]);
  s[1] = round(s[0], s[1]);
  s[0] = round(last, veorq_u8(s[0], a));
}

PACIOLI_AES void compute(uint8_t* target, const uint8_t* source, size_t length) {
  Block s[8];
  for (int index = 0; index < 8; index += 1) s[index] = load(&aegis_start.blocks[index]);
  size_t left = length;
  for (; left >= aegis_chunk_size; left -= aegis_chunk_size, source += aegis_chunk_size) {
    update(s, load(source), load(source + 16));
  }
  if (left > 0) {
    alignas(16) uint8_t padded[aegis_chunk_size] = {};
    std::memcpy(padded, source, left);
    update(s, load(padded), load(padded + 16));
  }

  alignas(16) const uint64_t lengths[2] = {static_cast<uint64_t>(length) * 8, 0};
  const Block mixed = veorq_u8(load(lengths), s[2]);
  for (int count = 0; count < aegis_finish_updates; count += 1) update(s, mixed, mixed);

  Block tag = s[0];
  for (int index = 1; index < 7; index += 1) tag = veorq_u8(tag, s[index]);
  vst1q_u8(target, tag);
}

}  // namespace

ChecksumFunction checksum_arm() {
#if defined(__linux__)
  constexpr unsigned long hwcap_aes = 1UL << 3;
  return getauxval(AT_HWCAP) & hwcap_aes ? compute : nullptr;
#else
  return compute;  // Every 64-bit Apple CPU has the instructions.
#endif
}

}  // namespace pacioli

#else

namespace pacioli {
ChecksumFunction checksum_arm() { return nullptr; }
}  // namespace pacioli

#endif
