// AEGIS-128L with the AES instructions of x86-64. The target attribute is on the functions, so
// that the rest of the addon runs on any CPU of the architecture.
#include <cstring>

#include "aegis_tables.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define PACIOLI_AES __attribute__((target("aes,avx")))

namespace pacioli {
namespace {

using Block = __m128i;

PACIOLI_AES inline Block load(const void* from) {
  return _mm_loadu_si128(static_cast<const Block*>(from));
}

PACIOLI_AES inline void update(Block* s, Block a, Block b) {
  const Block last = s[7];
  s[7] = _mm_aesenc_si128(s[6], s[7]);
  s[6] = _mm_aesenc_si128(s[5], s[6]);
  s[5] = _mm_aesenc_si128(s[4], s[5]);
  s[4] = _mm_aesenc_si128(s[3], _mm_xor_si128(s[4], b));
  s[3] = _mm_aesenc_si128(s[2], s[3]);
  s[2] = _mm_aesenc_si128(s[1], s[2]);
  s[1] = _mm_aesenc_si128(s[0], s[1]);
  s[0] = _mm_aesenc_si128(last, _mm_xor_si128(s[0], a));
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

  const Block length_bits = _mm_set_epi64x(0, static_cast<long long>(length * 8));
  const Block mixed = _mm_xor_si128(length_bits, s[2]);
  for (int count = 0; count < aegis_finish_updates; count += 1) update(s, mixed, mixed);

  Block tag = s[0];
  for (int index = 1; index < 7; index += 1) tag = _mm_xor_si128(tag, s[index]);
  _mm_storeu_si128(reinterpret_cast<Block*>(target), tag);
}

}  // namespace

ChecksumFunction checksum_x86() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("avx") ? compute : nullptr;
}

}  // namespace pacioli

#else

namespace pacioli {
ChecksumFunction checksum_x86() { return nullptr; }
}  // namespace pacioli

#endif
