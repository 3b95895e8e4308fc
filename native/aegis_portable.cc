// AEGIS-128L with table lookups, for CPUs without AES instructions.
#include <cstring>

#include "aegis_tables.h"

namespace pacioli {

void checksum_portable(uint8_t* target, const uint8_t* source, size_t length) {
  AegisState state = aegis_start;
  AegisBlock chunk[2];
  static_assert(sizeof(chunk) == aegis_chunk_size);
  size_t left = length;
  for (; left >= aegis_chunk_size; left -= aegis_chunk_size, source += aegis_chunk_size) {
    std::memcpy(chunk, source, aegis_chunk_size);
    aegis_update(state, chunk[0], chunk[1]);
  }
  if (left > 0) {
    std::memset(chunk, 0, aegis_chunk_size);
    std::memcpy(chunk, source, left);
    aegis_update(state, chunk[0], chunk[1]);
  }

  const uint64_t length_bits = static_cast<uint64_t>(length) * 8;
  AegisBlock mixed = state.blocks[2];
  mixed.columns[0] ^= static_cast<uint32_t>(length_bits);
  mixed.columns[1] ^= static_cast<uint32_t>(length_bits >> 32);
  for (int count = 0; count < aegis_finish_updates; count += 1) aegis_update(state, mixed, mixed);

  AegisBlock tag = state.blocks[0];
  for (int index = 1; index < 7; index += 1) tag = block_xor(tag, state.blocks[index]);
  std::memcpy(target, &tag, checksum_size);
}

}  // namespace pacioli
